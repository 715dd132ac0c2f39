"use strict";
const form = document.querySelector("form");
const status = document.querySelector("#status");
const documents = document.querySelector("#documents");

function say(text, isError = false) {
  status.textContent = text;
  status.classList.toggle("error", isError);
}

// The answer of the API in one of its formats, or an error of one line.
async function ask(format) {
  const file = form.file.files[0];
  const body = file ?? new Blob([form.text.value]);
  const most = Number(document.body.dataset.bytes);
  if (body.size === 0) throw new Error(file ? "the file is empty" : "there is no text yet: paste one, or choose a file");
  if (body.size > most) throw new Error(`larger than ${most.toLocaleString()} bytes: divide it, or use biobert-scale tag`);
  const query = new URLSearchParams({ format, "input-format": form["input-format"].value });
  if (file) query.set("name", file.name);
  const headers = { "Content-Type": "application/octet-stream" };
  const response = await fetch(`api/file?${query}`, { method: "POST", headers, body }).catch(() => {
    throw new Error("the server does not answer");
  });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({ error: `the server answers ${response.status}` }));
  throw new Error(error);
}

async function mark() {
  const response = await ask("html");
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  documents.replaceChildren(...page.querySelectorAll("article"));
  return response;
}

async function download() {
  const response = await ask(form.format.value);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = response.headers.get("Content-Disposition").split('"')[1];
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  return response;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const buttons = form.querySelectorAll("button");
  buttons.forEach((button) => (button.disabled = true));
  say("the text is being read ...");
  try {
    const response = await (event.submitter?.value === "download" ? download() : mark());
    const { documents: number, entities, passed_over } = JSON.parse(response.headers.get("X-Summary"));
    const counts = Object.entries(entities).map(([type, count]) => `${count} ${type}`);
    say([`${number} ${number === 1 ? "text" : "texts"}: ${counts.join(", ") || "no entity"}`,
      passed_over && `not read: ${passed_over}`].filter(Boolean).join("; "));
  } catch (error) {
    say(error.message, true);
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
});

form.file.addEventListener("change", () => { form.text.disabled = form.file.files.length > 0; });
form.addEventListener("reset", () => { form.text.disabled = false; documents.replaceChildren(); say(""); });
