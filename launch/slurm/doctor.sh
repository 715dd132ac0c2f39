
# Versions, devices, network, disk and tokens, as all ranks see them: what is wrong is better told now than after the first day.
"${ranks[@]}" @python@ -m biobert_scale.doctor --config @recipe@ --tokens tokens --output "$run" --json "$record/doctor.json" --timeout-seconds 300@doctor_options@ || {
    echo "the doctor found what must be mended before the ranks can train: see FAIL above"
    exit 1
}
