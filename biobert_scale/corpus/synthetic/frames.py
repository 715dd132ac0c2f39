"""Sentence frames of the invented papers, by style and section (notation: see `grammar`).

Slots: D disease, Dm disease before a noun, Dc a class of diseases, Dx two diseases in one breath, C chemical,
G gene or protein, P procedure, V device, K normal process, O organism, L cell line, T part of the organ, M
measurement, U scale named after a person, F the field's adjective, N the organ, X a thing of any kind (such
frames do not show which), H a hallmark's cue.
"""

from __future__ import annotations

TITLES = {
    "clinical": """
[Efficacy|Safety|Effect|Benefit] of <C> in [patients|children|women|adults] with <D>
<C>-induced <D>[: a case report| in an elderly patient|: report of {n} cases|]
[Comparison|A {design} comparison] of <C> and <C> in the treatment of <D>
<D> [during|after|following] <C> {therapy}
[Prevention|Treatment|Management] of <D> with <C>[ and <P>|: a {design} {trial}|]
<P> or <C> for {hard} <D>
<X> and <X> in [patients with <D>|<Dm> patients|<Dc>]
[Prevalence|Outcome|Course] of <D> after <P>""",
    "experimental": """
<C> {reduced} <K> in {animals}
[Role|Contribution] of <G> in [experimental <D>|<C>-induced <D>|<K>]
[Protective|Toxic|Dose-dependent|Acute] effects of <C> on the <N> of {animals}
<X> [modulates|affects|and] <X> in the <N>
<G> mediates the [response|sensitivity] of <T> to <C>
[Interaction|Relation] of <X> with <X> [in vivo|in vitro|in {animals}]""",
    "genetic": """
[A novel|A recurrent|Identification of a] {mutation} in <G> [causes|in a family with|associated with] <D>
[Linkage|Molecular] analysis of the <Dm> [gene|locus]
<G> {mutation}s in <Dx>
[Expression|Structure|Loss] of <G> in <D>[ and <Dc>|]
[Genotype and phenotype|Clinical spectrum|Carrier frequency] in <D>
<X> and <X>: a [{design} |]family {trial}""",
    "cancer": """
<H> and <H> in {tumour} cells
[Regulation|Control|Loss] of <H> by <G>[ in <D>|]
<C> [acts on|interferes with|targets] <H> in <L> cells
<G> links <H> to <D>
<X>, <H> and the biology of <D>""",
    "other": """
[Validation|Evaluation] of the <V> for [<P>|<M> monitoring]
<P> and the <U>: a {design} {trial}
[Growth|Survey|Distribution] of <O> in [hospital wards|soil|drinking water]
[Training|Experience] with <P> in {n} centres
<X> and <X> measured by the <V>""",
}
BACKGROUND = {
    "clinical": """
<D> is {known} [complication|cause of disability|finding|cause of death] in [{patients}|<Dc>].
{patients} with <D> are {often} treated with <C>.
The [treatment|management] of <D> remains [difficult|{unknown}|unsatisfactory] despite <C>[ and <P>|].
<C> is [widely|{often}] [used|prescribed] [for|in] <D>, but its [safety|effect on the <M>|use in {patients}] is {unknown}.
[Several|Few|Some] [reports|trials] [describe|have described] <D> after <C> {therapy}.
{often} <D> [develops|occurs|appears] in {patients} who undergo <P>.
The [relation|link] between <X> and <X> is {unknown}.
<X> has [long |recently |]been [linked to|associated with|implicated in] <X>.
The incidence of <D> has [risen|fallen] since <C> [was introduced|became available].
[Untreated|Early] <D> leads to loss of [<N> function|<T>] within {years}.
It is {unknown} whether <X> [contributes to|matters in|precedes] <X>.""",  # noqa: E501
    "experimental": """
<C> [inhibits|blocks|activates|binds to] <G> in the <T>.
<G> is a [receptor|kinase|transporter|secreted protein|transcription factor] that [controls|regulates|supports] <K> in the <N>.
<K> is a [normal|physiological] [process|function] of the <N> that depends on <G>.
The [mechanism|pathway] by which <C> [{reduced}|{raised}] <K> is {unknown}.
<X> is [known|thought|believed] to [affect|influence|regulate] <X>.
[Experimental|Human] <D> is [accompanied|followed|preceded] by a loss of <K>.
The [interaction|balance] between <X> and <X> is {important} [for|in] the <N>.
The <N> [takes up|excretes|metabolises] <C> [rapidly|slowly] after {therapy}.
[Little|Nothing] is known about <X> in the <T>.""",  # noqa: E501
    "genetic": """
<D> is {known} [autosomal recessive|autosomal dominant|X-linked|inherited] [disorder|condition] of the <N>.
{mutation}s in <G> [cause|underlie|account for] [most|some|{pct} of] cases of <D>.
The <Dm> gene [maps to|was mapped to] chromosome {chromosome}.
<Dx> [are caused by|share|have been traced to] {mutation}s in <G>.
<G> encodes a protein expressed in the <T>.
[Affected|Most] {carriers} with <D> [die|present|are diagnosed] before the age of {age}.
<X> has been [linked to|associated with|implicated in] <X>.
<Dc> [are|have been] genetically heterogeneous[, and <D> is one of them|].
The [cause|penetrance|genetic basis] of <D> is {unknown}.
[Linkage to|The role of] <X> is {unknown} in [most|some|{n}] families.""",
    "cancer": """
<H>, also [called|known as] <H>, is a [hallmark|property|feature] of {cells}.
<H> and <H> [go hand in hand|occur together|are hard to tell apart] in {cells}.
{tumour} cells [depend on|acquire|exploit] <H> [and|or] <H>.
<G> has been [linked to|implicated in] <H> in <D>.
The [role|contribution] of <X> in <D> is {unknown}.
[Progression|Relapse] of <D> [requires|depends on|is driven by] <H>.
<X> and <X> are {often} [altered|lost|found] in <D>.""",
    "other": """
<P> is a [routine|safe|new|costly] [procedure|technique] [in|for] the <N>.
The <V> is a [portable|calibrated|disposable] [instrument|device] for [<P>|monitoring the <M>].
The <U> is [widely|{often}] used to [grade|score|classify] the <N>.
<O> is {often} found in [hospital wards|soil|drinking water|healthy volunteers].
[Access to|Training in|The cost of] <P> [differs|varies] between [regions|hospitals|countries].
[Little|Nothing] is known about <X> in [routine care|the community].
The [relation|link] between <X> and <X> is {unknown}.""",
}
AIMS = {
    "clinical": """
{aim} to [determine|test|find out] whether <C> [{reduced}|prevents|worsens] <D>.
We {studied} the [safety|efficacy|tolerability] of <C> in {n} {patients} with <D>.
{aim} to compare <C> with <C> in <D>.
{aim} to [describe|estimate] the [prevalence|outcome|risk] of <D> in {patients} [after <P>|on <C>].
{aim} to [describe|clarify|assess] <X> in [relation to <X>|<Dm> patients].""",
    "experimental": """
We {studied} the effect of <C> on <K>[ in {animals}| in the <T>|].
{aim} to [test|determine] whether <G> [mediates|is {important} for] [<K>|the action of <C>].
Here we {studied} <X> and <X> in {animals}.
{aim} to [clarify|define] how <X> [affects|depends on] <X>.""",
    "genetic": """
We {studied} <G> in {n} {carriers} with <D>.
{aim} to [identify|map|clone] the gene [responsible for|mutated in] <D>.
{aim} to [define|clarify] the [spectrum|frequency] of <G> {mutation}s in <Dx>.
Here we {studied} <X> and <X> in {n} families.""",
    "cancer": """
We {studied} whether <C> [affects|blocks|restores] <H> in {cells}.
{aim} to [define|clarify] how <G> [controls|governs] <H>.
Here we {studied} <X> in {cells}.""",
    "other": """
{aim} to [validate|test|calibrate] the <V>[ against the <U>| in {n} centres|].
We {studied} the [cost|duration|accuracy] of <P>.
Here we {studied} <X> and <X> in {patients}.""",
}
METHODS = {
    "clinical": """
{n} {patients} with {hard} <D> [were randomised to|received|were treated with] <C> [({dose}) |]or [<C>|placebo] [for {weeks}|{route}].
In this {design} {trial}, <C> {gave} [at {dose} |]{route} [to {n} {patients}|for {weeks}].
{patients} [with a history of|hospitalised for|suffering from] <D> were [enrolled|excluded|followed for {years}].
A~ {age}-year-old [man|woman] with <D> [was given|received|was prescribed] <C> {route}.
The <M> was measured [before and after|during] <C> {therapy}.
<P> was performed [in {n} {patients}|{later}] [with|using] the <V>.
The [severity|diagnosis] of <D> was [graded|confirmed|scored] by [the <U>|<P>].
[Serum|Plasma] [levels|concentrations] of <C> were {studied} by {method}.
We recorded <X>, <X> and the <M> [at baseline|in all {patients}|{later}].
{patients} on <C> or [after|awaiting] <P> were [eligible|excluded].""",  # noqa: E501
    "experimental": """
{animals} [were given|received|were injected with] <C> ({dose})[ for {days}| {route}| before <P>|].
<T> were [incubated|perfused|treated] with <C> ({conc})[ for {days}| in the presence of <G>|].
[Expression|Phosphorylation|Secretion] of <G> was {studied} by {method}.
<L> cells ({cellnumber}) were [seeded|plated|transfected] [with <G>|and exposed to <C>].
<D> was [induced|provoked] in {animals} by [<C>|repeated <C> {therapy}|<P>].
<K> was [monitored|recorded|quantified] [with the <V>|by {method}|in isolated <T>].
[Knockout|Silencing|Overexpression] of <G> was [obtained|verified] by {method}.
<X> and <X> were {studied} [in parallel|in {n} {animals}|by {method}].
The <N> was [removed|fixed|weighed] {later} and [stained|scored] by the <U>.""",
    "genetic": """
We [sequenced|screened] <G> in {n} {carriers} [with <D>|from {n} families].
[DNA|Blood] from {n} <Dm> [patients|families|kindreds] was {studied} by {method}.
{n} {patients} [diagnosed with|clinically affected by] <D> were [genotyped|recruited|enrolled].
Linkage to markers near <G> was tested in {n} <Dm> families.
[Expression of <G> was|Transcripts of <G> were] {studied} in <T> by {method}.
<X> and <X> were {studied} in all {carriers}.
The phenotype was [scored|graded] by the <U>[ and <P>|].""",
    "cancer": """
{cells} were treated with <C> ({conc}) and {studied} by {method}.
<G> was [silenced|overexpressed] in <L> cells ({cellnumber}).
We [scored|{studied}] <H> [by {method}|with the <V>|{later}].
Samples of <D> from {n} {patients} were {studied} by {method}.
<X> and <X> were {studied} in {cells}.""",
    "other": """
The <V> was [calibrated|tested|placed] in {n} {patients}.
<P> was [performed|repeated|timed] by {n} [operators|trainees|nurses] using the <V>.
We collected {n} samples of <O> from [hospital wards|soil|drinking water].
The <U> was [completed|repeated] {later}.
<X> and <X> were recorded in {n} {patients}.""",
}
RESULTS = {
    "clinical": """
{inresults}<C> {markedly}{reduced} the [severity|duration|incidence|risk] of <D> {stats}.
<D> [occurred|developed|recurred|resolved] in {pct} of {patients} [on|given|receiving] <C>.
The <M> {moved} [{later}|in the <C> group|in {patients} with <D>] {stats}.
{n} {patients} [developed|died of|suffered|recovered from] <D> {later}.
{inresults}[withdrawal|a higher dose] of <C> was followed by [resolution|relapse|improvement] of <D>.
<X> [and|but not] <X> correlated [strongly |weakly |]with the <M> {stats}.
{inresults}<X> [was|remained] [more common|less common|unchanged] {stats}.
[Neither <X> nor|Both <X> and] <X> differed from {control}.
The diagnosis of <D> was [made|confirmed|excluded] {later} in {n} {patients}.
<C> was [well tolerated|stopped|replaced by <C>] in {pct} of {patients}.
<P> was [needed|successful|delayed] in {pct}[ and the <U> improved|, mainly for <D>|].
There were [no|{n}] [deaths from|new cases of|reports of] <D> [with|on] <C>.
{hard} <D> and <Dc> were [more|less] [frequent|common] than in {control}.""",
    "experimental": """
{inresults}<C> {changed} <K> [in a dose-dependent manner|at {conc}|{later}] {stats}.
[Blockade|Inhibition|Loss] of <G> [prevented|mimicked|abolished] the effect of <C> on <K>.
<C> ({dose}) {reduced} the <M> of {animals} {stats}.
<G> was [upregulated|phosphorylated|secreted|degraded] in <T> [exposed to|treated with] <C>.
{animals} [lacking|deficient in|overexpressing] <G> [developed|were protected from|died of] <D>.
<X> {moved} {later} {stats}.
{inresults}<X> [correlated with|was independent of|preceded] <X> {stats}.
[Binding|Uptake|Clearance] of <C> was {fold} higher in the <T>.
No change in <X> or <X> was [seen|detected|found] in {control}.
<K> [recovered|declined|continued] {later} despite <C>.
{inresults}<C>-induced <D> was [prevented|aggravated] by [<C>|loss of <G>].""",
    "genetic": """
A~ [novel |]{mutation} in <G> was [found|detected|identified] in {n} {carriers} with <D>.
{inresults}{pct} of <Dm> [patients|chromosomes|alleles] carried [the same|a~] {mutation}.
<G> [transcripts were|protein was] [absent|reduced] in the <T> of {carriers}.
Heterozygous {carriers} [had|developed|did not develop] [a mild form of |]<D>.
<X> was [present|absent|recorded] in {n} of {n} families.
{inresults}<X> [segregated|was found together] with <X> [in {n} families|{stats}].
[Haplotype|Linkage] analysis [placed|mapped] the <Dm> locus near <G>.
<Dx> [were distinguished by|differed in|did not differ in] the <M>.
The <M> {moved} in {carriers} with {hard} <D> {stats}.
No {mutation} in <G> was found in {control} or in [<Dc>|{patients} with <D>].""",
    "cancer": """
{inresults}<C> {changed} <H>[| and <H>] in {cells} {stats}.
[Markers|Signs|Measures] of <H>, <H> and <H> [rose|fell|changed] together [in {cells}|{later}].
[Loss|Silencing|Overexpression] of <G> [led to|resulted in|was sufficient for] <H>.
{cells} [showed|displayed|acquired] [{fold} more |enhanced |sustained ]<H> [and|with signs of] <H>.
<H> [was|remained] [{fold} higher|linked to <H>|the main change] in {cells} [lacking|expressing] <G>.
{inresults}markers of <H> [correlated|were associated] with [<D>|poor survival|the <M>] {stats}.
<G> [induced|triggered|controlled] <H> through <H>.
<X> {moved} in <D> {stats}.
{inresults}<X> was [found|seen|detected] in {pct} of samples.""",
    "other": """
The <V> [agreed|correlated] with the <U> {stats}.
<P> took {n} minutes and was [repeated|completed] in {pct}.
<O> was [found|grown|isolated] in {pct} of samples.
{inresults}the [cost|duration|accuracy] of <P> {moved} {later}.
<X> and <X> [differed|did not differ] between [centres|operators|regions] {stats}.
{pct} of [trainees|nurses|operators] preferred the <V>.
The <M> {moved} {later} {stats}.""",
}
CONCLUSIONS = {
    "clinical": """
{together}<C> [is|may be] [effective|safe|useful|harmful] in {patients} with <D>.
{together}<C> {therapy} can [cause|prevent|worsen|mask] <D>.
[Physicians|Clinicians] should be aware of <D> [in {patients} on|during the use of] <C>.
{together}<X> [deserves|needs] [attention|further study] in {patients} with <X>.
[Larger|Longer] trials of <C> [and <P> |]in <D> are needed.""",
    "experimental": """
{together}<G> is {important} for [<K>|the action of <C>] in the <N>.
{together}<C> [protects|damages] the <T> [by blocking|through] <G>.
{together}<X> [depends on|acts through|is independent of] <X>.
These results point to <G> as a target in <D>.""",
    "genetic": """
{together}{mutation}s in <G> [cause|contribute to|modify] <D>.
{together}[carrier screening|genetic testing] for <D> [is|may be] [useful|feasible] in {carriers}.
{together}<X> [modifies|does not explain] <X>.
Our data [extend|define] the <Dm> phenotype and [separate|link] it [from|to] <Dc>.""",
    "cancer": """
{together}<G> [promotes|restrains] <H> [and <H> |]in <D>.
{together}<H>, <H> and <H> [share a cause|depend on <G>|may be targets] in <D>.
{together}<C> [targets|overcomes] <H> in {cells}.
{together}<X> [acts on|depends on] <H>.
Targeting <H> may [delay|prevent] [relapse|progression] of <D>.""",
    "other": """
{together}the <V> is [reliable|accurate|cheap] for [<P>|monitoring the <M>].
{together}<P> can be [taught|performed] in [most|all] centres.
{together}<X> [and|but not] <X> should be [recorded|reported] routinely.""",
}
SECTIONS = {
    "background": BACKGROUND,
    "aims": AIMS,
    "methods": METHODS,
    "results": RESULTS,
    "conclusions": CONCLUSIONS,
    "titles": TITLES,
}


def frames(section: str, style: str) -> list[str]:
    """The frames of a section (`titles`, `background`, `aims`, `methods`, `results`, `conclusions`) in a
    style."""
    return [line for line in SECTIONS[section][style].splitlines() if line]
