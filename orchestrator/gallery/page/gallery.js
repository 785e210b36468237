import { Grid } from "./grid.js";

const at = id => document.getElementById(id);
const hex = () => [...crypto.getRandomValues(new Uint8Array(16))].map(one => one.toString(16).padStart(2, "0")).join("");
const filters = at("filters"), detail = at("detail"), help = at("help");
// Of this tab, also after it is loaded again: whoever has seen the model's answer does not rate without knowing it.
const page = sessionStorage.page ||= hex();
let summary, mode = "browse", person = localStorage.likertName || "";
let queue = [], position = 0, hidden = null, answered = null, shownAt = 0, busy = false, turn = 0, agreed = [], agreeTurn = 0;

async function ask(path, query) {
  const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
  const content = await answer.json().catch(() => ({ error: `the server said ${answer.status}` }));
  if (!answer.ok) throw new Error(content.error);
  return content;
}

const entries = (numbers, query = {}) => ask("entries", { numbers: numbers.join(","), page, ...query }).then(one => one.entries);
const grid = new Grid(at("scroller"), at("sheet"), numbers => entries(numbers).catch(tell), fillCard, openDetail);

function tell(text) {
  at("told").textContent = text instanceof Error ? `${text.message}. Is the gallery still running?` : text;
  return [];
}

function make(tag, text = "", properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, properties);
}

const taskOf = entry => summary.tasks[entry.task];
const word = (entry, level) => taskOf(entry).words[level];

function saidBy(entry, opinion) {
  return opinion.said === "level" ? word(entry, opinion.level) : { cannot_tell: "cannot tell", pass: "passed" }[opinion.said];
}

function pictures(target, entry, eager) {
  const number = entry.pictures.length, compares = taskOf(entry).compares;
  target.className = number === 1 ? "one" : "";
  target.replaceChildren(...entry.pictures.map((name, place) => {
    const label = number === 1 ? "" : compares ? ["First", "Second"][place] : `${place + 1} of ${number}`;
    const figure = make("figure");
    const image = make("img", "", { src: `pictures/${name}.png`, loading: eager ? "eager" : "lazy",
      alt: `What the rater saw of “${taskOf(entry).instruction}”${label ? `, picture ${label}` : ""}` });
    figure.append(image, make("figcaption", label));
    return figure;
  }));
  if (!number) target.append(make("p", "The pictures of this question were not kept."));
}

function fillCard(card, entry) {
  const opinions = entry.opinions.filter(one => one.said !== "pass");
  const image = entry.pictures.length ? make("img", "", { src: `pictures/${entry.pictures[0]}.png`, loading: "lazy", alt: "" })
    : make("div", "no picture", { className: "lost" });
  const title = entry.kind === "failure" ? `no rating: ${entry.cause}` : word(entry, entry.level);
  const sure = entry.probabilities.length ? ` ${entry.probabilities[entry.level].toFixed(2)}` : "";
  const people = opinions.length ? `people: ${opinions.map(one => saidBy(entry, one)).join(", ")}` : "";
  const facts = [entry.disagrees ? "contradicts the simulator" : "", people || `step ${entry.env_step.toLocaleString("en")}`];
  card.replaceChildren(image, make("b", title + sure, { className: entry.kind === "failure" ? "failed" : "" }),
    ...facts.filter(Boolean).map((text, place) => make("span", text, { className: place === 0 && entry.disagrees ? "contradicts" : "" })));
  card.setAttribute("aria-label", [title + sure, taskOf(entry).instruction, ...facts].filter(Boolean).join("; "));
}

function answer(entry) {
  const parts = [];
  if (entry.kind === "failure") {
    parts.push(make("p", `The model gave no rating: ${entry.cause}, after ${entry.attempts} attempts. ${entry.detail}`, { className: "failed" }));
  } else {
    parts.push(make("p", "The model said ", {}));
    parts[0].append(make("b", word(entry, entry.level)), entry.doubt === null ? "" : `, with a doubt of ${entry.doubt.toFixed(2)}`);
    entry.probabilities.forEach((probability, level) => {
      const bar = make("div", "", { className: "bar" });
      const meter = make("meter", "", { min: 0, max: 1, value: probability });
      meter.setAttribute("aria-label", `probability of ${word(entry, level)}`);
      bar.append(make("span", word(entry, level)), meter, make("span", probability.toFixed(2)));
      parts.push(bar);
    });
  }
  if (entry.analysis) parts.push(make("p", entry.analysis, { className: "words", tabIndex: 0 }));
  if (entry.success !== null) parts.push(make("p", `The simulator said: ${entry.success ? "success" : "no success"}${entry.disagrees ? ", which contradicts" : ""}`,
    { className: entry.disagrees ? "contradicts" : "" }));
  if (entry.opinions.length) {
    const list = make("ul");
    list.append(...entry.opinions.map(one => make("li", `${one.person}: ${saidBy(entry, one)} (${one.at.slice(0, 16).replace("T", " ")} UTC${one.answer_seen ? ", knowing the model's answer" : ""})`)));
    parts.push(list);
  }
  return parts;
}

function wanted() {
  const given = Object.fromEntries([...new FormData(filters)].filter(([, value]) => value !== ""));
  if (mode === "rate") {
    // What would tell the model's answer beforehand is no choice here.
    for (const name of ["level", "disagrees", "kind"]) delete given[name];
    given.mode = "rate";
  }
  return { ...given, person };
}

async function choose() {
  const mine = ++turn;
  try {
    const { numbers } = await ask("list", wanted());
    if (mine !== turn) return;
    at("count").textContent = `${numbers.length.toLocaleString("en")} of ${(summary.ratings + summary.failures).toLocaleString("en")}`;
    if (mode === "browse") {
      at("nothing").hidden = numbers.length > 0;
      grid.show(numbers);
    } else {
      queue = numbers;
      position = 0;
      await present();
      await agree();
    }
  } catch (error) { tell(error); }
}

async function openDetail(place) {
  const entry = await grid.entry(place);
  if (!entry) return;
  grid.current = place;
  pictures(at("detail-pictures"), entry, true);
  const task = taskOf(entry);
  at("detail-text").replaceChildren(make("h2", task.instruction),
    make("p", `${place + 1} of ${grid.numbers.length}. Asked by ${entry.run}, step ${entry.env_step.toLocaleString("en")}, of ${entry.model}. ${entry.frame_note}`), ...answer(entry));
  at("detail-back").disabled = place === 0;
  at("detail-next").disabled = place === grid.numbers.length - 1;
  if (!detail.open) detail.showModal();
}

const moveDetail = step => {
  const place = grid.current + step;
  if (place >= 0 && place < grid.numbers.length) openDetail(place);
};
detail.addEventListener("close", () => grid.focus(grid.current));
at("detail-back").onclick = () => moveDetail(-1);
at("detail-next").onclick = () => moveDetail(1);
at("detail-close").onclick = () => detail.close();

async function present() {
  at("question").hidden = !queue.length || !person;
  at("none-left").hidden = !!queue.length || !person;
  at("who").hidden = !!person;
  if (!person) return at("who").person.focus();
  if (!queue.length) return;
  const mine = ++turn;
  let found;
  try { found = await entries(queue.slice(position, position + 2), { hidden: 1, person }); } catch (error) { return tell(error); }
  if (mine !== turn || !found.length) return;
  hidden = found[0];
  answered = null;
  if (found[1]) found[1].pictures.forEach(name => { new Image().src = `pictures/${name}.png`; });
  pictures(at("pictures"), hidden, true);
  const task = taskOf(hidden);
  at("progress").textContent = `${position + 1} of ${queue.length}${hidden.mine ? "; you have rated this: press a to rate it again" : ""}`;
  at("instruction").textContent = task.instruction;
  at("note").textContent = [task.focus && `Look at ${task.focus}.`, hidden.frame_note, task.compares ? "Which is nearer to the goal?" : ""].filter(Boolean).join(" ");
  const levels = task.words.map((text, level) => choice(String(level + 1), text, task.rubric[level], "level", level));
  if (task.compares) levels.pop();
  at("levels").replaceChildren(...levels, choice("c", "Cannot tell", "", "cannot_tell", null), choice("p", "Pass", "", "pass", null));
  lock(hidden.mine > 0);
  at("levels").hidden = false;
  at("again").hidden = !hidden.mine;
  at("answer").hidden = true;
  at("as-whom").textContent = `Rating as ${person}.`;
  at("back").disabled = position === 0;
  at("next").disabled = position === queue.length - 1;
  showAgreement();
  at("instruction").focus();
  shownAt = performance.now();
}

// Of what this person has rated so far, and while the model's answers are shown: else it would tell them.
async function agree() {
  const mine = ++agreeTurn;
  let found = [];
  if (person && at("reveal").checked) {
    try { found = (await ask("agreement", { ...wanted(), page })).agreement; } catch (error) { tell(error); }
  }
  // Of answers that overtake one another the last one asked for counts.
  if (mine !== agreeTurn) return;
  agreed = found;
  showAgreement();
}

function showAgreement() {
  const shown = agreed.filter(one => hidden && one.task === hidden.task);
  at("agreement").replaceChildren(...shown.flatMap(one => {
    const words = summary.tasks[one.task].words.slice(0, one.table.length), table = make("table");
    const row = (name, cells, tag) => { const line = make("tr"); line.append(make("th", name, { scope: "row" }), ...cells.map(text => make(tag, text))); return line; };
    table.append(make("caption", "Your levels by row, the model’s by column"), row("", words, "th"), ...one.table.map((counts, level) => row(words[level], counts, "td")));
    const who = `You and the model${summary.models.length > 1 ? ` ${one.model.slice(0, 40)}` : ""}`;
    const left = one.known ? ` Of ${one.known} you had seen the answer before, as in browsing: they do not count.` : "";
    if (!one.items) return [make("p", `${who}:${left}`)];
    return [make("p", `${who}, on ${one.items} rated here: the same level ${one.same}; weighted kappa ${one.kappa}; alpha ${one.alpha}.${left}`), table];
  }));
  at("agreement").hidden = !shown.length;
}
at("reveal").onchange = agree;

function choice(key, text, rubric, said, level) {
  const button = make("button", "", { type: "button", onclick: () => say(said, level) });
  button.dataset.key = key;
  button.append(make("kbd", key), text);
  if (rubric) button.append(make("small", rubric));
  return button;
}

function lock(locked) {
  at("levels").querySelectorAll("button").forEach(button => { button.disabled = locked; });
}

async function say(said, level) {
  if (busy || answered) return;
  busy = true;
  lock(true);
  const body = { opinion_id: hex(), key: hidden.key, person, said, level, seconds: (performance.now() - shownAt) / 1000, page };
  try {
    // Sent again under the same id it is one opinion, so an answer that was lost on its way does no harm.
    const reply = await fetch("opinions", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const content = await reply.json();
    if (!reply.ok) throw new Error(content.error);
    answered = content;
  } catch (error) {
    lock(false);
    return tell(new Error(`NOT saved: ${error.message}`));
  } finally { busy = false; }
  grid.forget(answered.number);
  at("told").textContent = "";
  agree();
  if (at("reveal").checked || position === queue.length - 1) {
    const mine = answered.opinions.filter(one => one.person === person).at(-1);
    at("answer").replaceChildren(make("p", `Saved: ${saidBy(answered, mine)}.`), ...answer(answered));
    at("answer").hidden = false;
    // The answer stands in their place, so that nobody scrolls to see it.
    at("levels").hidden = true;
    at("again").hidden = false;
    if (position < queue.length - 1) at("next").focus();
  } else move(1);
}

at("again").onclick = () => {
  answered = null;
  hidden.mine = 0;
  lock(false);
  at("levels").hidden = false;
  at("again").hidden = true;
  at("instruction").focus();
  tell("Rate it again: your earlier rating stays, too");
  shownAt = performance.now();
};

function move(step) {
  const place = position + step;
  if (busy || place < 0 || place >= queue.length) return;
  position = place;
  present();
}
at("back").onclick = () => move(-1);
at("next").onclick = () => move(1);

function to(name) {
  mode = name;
  document.body.classList.toggle("rating", name === "rate");
  at("browse").hidden = name !== "browse";
  at("rate").hidden = name !== "rate";
  at("to-browse").setAttribute("aria-pressed", name === "browse");
  at("to-rate").setAttribute("aria-pressed", name === "rate");
  at("told").textContent = "";
  return choose();
}
at("to-browse").onclick = () => to("browse").then(() => grid.focus(0));
at("to-rate").onclick = () => to("rate");
at("to-help").onclick = () => help.showModal();
at("who").addEventListener("submit", event => {
  event.preventDefault();
  person = localStorage.likertName = at("who").person.value.trim();
  to("rate");
});

at("leave").onclick = () => { person = ""; present(); };

let pause;
filters.addEventListener("input", event => {
  at("doubt").textContent = Number(filters.doubt.value).toFixed(2);
  if (event.target.name === "task") levelsOf();
  clearTimeout(pause);
  pause = setTimeout(choose, 120);
});
filters.addEventListener("submit", event => event.preventDefault());

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => make("option", text, { value })));
  select.closest("label").hidden = pairs.length < 3 && select.name !== "task" && select.name !== "level";
}

function levelsOf() {
  const one = summary.tasks[filters.task.value - 1] || (summary.tasks.length === 1 ? summary.tasks[0] : null);
  const number = Math.max(...summary.tasks.map(task => task.words.length));
  const words = one ? one.words : Array.from({ length: number }, (_, place) => `level ${place + 1}`);
  options(filters.level, [["", "any"], ...words.map((text, place) => [place + 1, text])]);
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const typing = event.target.matches("select, input:not([type=checkbox])");
  if (detail.open) {
    if (event.key === "ArrowRight") moveDetail(1);
    if (event.key === "ArrowLeft") moveDetail(-1);
    return;
  }
  if (typing) return;
  if (event.key === "?") { event.preventDefault(); return help.showModal(); }
  if (event.key === "b") return at("to-browse").click();
  if (event.key === "r") return at("to-rate").click();
  if (mode !== "rate" || at("question").hidden || event.repeat) return;
  const button = at("levels").querySelector(`button[data-key="${CSS.escape(event.key)}"]`);
  if (button) {
    if (answered || hidden.mine) tell("Rated already: → for the next, a to rate it again");
    else button.click();
  } else if (event.key === "a" && !at("again").hidden) at("again").click();
  else if (event.key === "ArrowRight") { event.preventDefault(); move(1); }
  else if (event.key === "ArrowLeft") { event.preventDefault(); move(-1); }
  else if (event.key === "Enter" && answered && event.target.tagName !== "BUTTON") move(1);
});

try {
  summary = await ask("summary", {});
  at("place").textContent = summary.place;
  document.title = `Likert gallery: ${summary.place}`;
  at("who").person.maxLength = summary.longest_name;
  options(filters.task, [["", "any"], ...summary.tasks.map((task, place) => [place + 1, `${task.instruction} (${task.words.join(", ")}; ${task.number})`])]);
  options(filters.model, [["", "any"], ...summary.models.map(name => [name, name.slice(0, 40)])]);
  options(filters.run, [["", "any"], ...summary.runs.map(name => [name, name])]);
  levelsOf();
  await choose();
} catch (error) { tell(error); }
