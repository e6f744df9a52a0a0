// needs: core
/* Answers to exercises, quick questions and predictions, given and judged in the page.
 *
 * The build puts what `exercises.cases` returns beside each exercise whose answer is a number, named
 * numbers or a choice; `judge` says what Python's `check` says. Whatever is answered stays in this
 * browser's storage, and in the page alone where a browser keeps nothing.
 */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const { html } = eam;

  // --------------------------------------------------------------------------------------- judge

  const AN_ULP_OR_SO = 1e-15;  // a half may be rounded up or to the even digit
  const A_FLOAT = 1e-9;  // what the last bits do to two decimals
  const isRounded = (given, value) => {
    const shown = given.toExponential(5).split("e")[0].replace(/[-.]/g, "").replace(/0+$/, "");
    return [1, 2].includes(shown.length) && [1 - AN_ULP_OR_SO, 1 + AN_ULP_OR_SO].some((factor) =>
      Number((value * factor).toExponential(shown.length - 1)) === given);
  };

  /** Which numbers are those of a case: within the tolerance, or rounded where that is allowed. */
  const near = ({ values, tolerance, rounded }, given) => {
    const largest = Math.max(...values.map(Math.abs));
    const unit = [10, 100].find((n) => largest >= 1 / n &&
      given.every((x) => Math.abs(x * n - Math.round(x * n)) < A_FLOAT));
    return given.map((x, i) => {
      const distance = Math.abs(x - values[i]);
      return distance <= tolerance[i] || (rounded &&
        (isRounded(x, values[i]) || (unit !== undefined && distance <= 0.5 / unit + A_FLOAT)));
    });
  };

  const fits = (one, given) => {
    const { values, where } = one;
    if (typeof values === "string") return given === values;
    if (where.length) {
      return where.every(([place, low, high]) => low <= given[place] && given[place] <= high);
    }
    return near(one, given).every(Boolean);
  };

  /** What is said to a wrong answer that no case knows. */
  const remark = ({ kind, names, cases: [{ values }, few] }, given) => {
    if (kind === "choice") return "No. Try the experiment of the exercise.";
    const off = given.map((x, i) => (x > values[i] ? "too large" : "too small"));
    if (kind === "number") return `Not yet: your number is ${off[0]}.`;
    const right = near(few, given);
    const told = names.map((name, i) => `${name} is ${off[i]}`).filter((_, i) => !right[i]);
    return `Not yet: ${told.join(", ")}.`;
  };

  /** {correct, message} of an answer: the text of an option, or numbers in the order of the names. */
  eam.judge = (exercise, given) => {
    if (exercise.kind !== "choice" && !given.every(Number.isFinite)) {
      return { correct: false,
        message: "The answer is infinite: a division by zero, or a sampler that exploded?" };
    }
    const { correct, message } = exercise.cases.find((one) => fits(one, given)) ??
      { correct: false, message: remark(exercise, given) };
    return { correct, message };
  };

  const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  /** Numbers from what was typed, in the order of the names; an error says what is none. */
  eam.readNumbers = (names, texts) => texts.map((typed, i) => {
    const text = typed.trim().replace("−", "-");
    if (NUMBER.test(text)) return Number(text);
    const of = names[i] ? `${names[i]}: ` : "";
    if (!text) throw new Error(`${of}a number is missing.`);
    if (text.includes(",")) {
      throw new Error(`${of}write numbers with a point and without commas, such as 0.62 or 10000.`);
    }
    if (text.endsWith("%")) throw new Error(`${of}write a share, such as 0.62, and not percent.`);
    throw new Error(`${of}“${typed.trim()}” is no number; write digits, such as 0.123 or 1.23e-4.`);
  });

  // --------------------------------------------------------------------------------------- keep

  const KEY = "eamlab-answers";
  let kept = {};  // key: {title, given, correct?, tries?}
  const recall = () => {  // anew each time: another page may be open
    try {
      const found = Object.entries(JSON.parse(localStorage.getItem(KEY) ?? "{}"));
      kept = Object.fromEntries(found.filter(([, entry]) =>
        typeof entry?.title === "string" && typeof entry.given === "string"));
    } catch { /* nothing can be kept, or what was is not readable: the page goes on with its own */ }
    return kept;
  };
  const store = (answers) => {
    kept = answers;
    try { localStorage.setItem(KEY, JSON.stringify(kept)); } catch { /* in this page alone, then */ }
    tell();
  };
  const keep = (key, entry) => store({ ...recall(), [key]: entry });
  const drop = (key) => {
    const { [key]: _, ...rest } = recall();
    store(rest);
  };

  const verdict = ({ correct, tries }) => {
    if (correct === undefined) return "";
    return `${correct ? "right" : "not right"}${tries > 1 ? `, ${tries} tries` : ""}`;
  };
  /** All answers as a text for the lecturer. */
  eam.answersAsText = (answers, day) => {
    const keys = Object.keys(answers)
      .sort((a, b) => a.localeCompare(b, "en", { numeric: true, sensitivity: "base" }));
    const lines = keys.map((key) => {
      const said = verdict(answers[key]);
      const given = answers[key].given.replaceAll("\n", "\n    ");
      return `${answers[key].title}${said && ` (${said})`}\n    ${given}\n`;
    });
    return [`My answers, as my browser kept them until ${day}`, "", ...lines].join("\n");
  };

  // --------------------------------------------------------------------------------------- page

  const decoded = (text) => JSON.parse(new TextDecoder().decode(
    Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))));
  /** Text of a node on one line, with each formula once, as it was written. */
  const words = (node) => {
    const copy = node.cloneNode(true);
    for (const formula of copy.querySelectorAll(".katex")) {
      formula.replaceWith(formula.querySelector("annotation")?.textContent ?? "");
    }
    return copy.textContent.replace(/\s+/g, " ").trim();
  };
  const mark = (correct) => (correct ? "✓" : "✗");
  const forgotten = [];  // what empties each form
  let count = 0;
  let panel = null;

  /** Inputs of one exercise: {parts, read, write}, `read` returns what was typed or chosen. */
  const inputs = ({ id, kind, names }) => {
    const group = `eam-answer-${++count}`;
    const fields = (kind === "number" ? [`Your answer to ${id}`] : names).map((name, i) => {
      const input = kind === "choice"
        ? html("input", { type: "radio", name: group, value: name, autocomplete: "off" })
        : html("input", { type: "text", id: `${group}-${i}`, autocomplete: "off", spellcheck: "false" });
      const label = kind === "choice"
        ? html("label", {}, input, html("span", {}, name))
        : html("span", { class: "eam-field" }, html("label", { for: input.id }, name), input);
      return { input, label };
    });
    const labels = fields.map(({ label }) => label);
    const parts = kind === "number" ? labels
      : html("fieldset", {}, html("legend", {}, `Your answer to ${id}`), labels);
    const all = fields.map(({ input }) => input);
    if (kind !== "choice") {
      return { parts, read: () => all.map(({ value }) => value),
        write: (texts) => all.forEach((input, i) => { input.value = texts[i] ?? ""; }) };
    }
    return { parts, read: () => all.filter(({ checked }) => checked).map(({ value }) => value),
      write: (texts) => all.forEach((input) => { input.checked = texts.includes(input.value); }) };
  };

  const mountExercise = (place) => {
    const exercise = decoded(place.dataset.eamAnswer);
    const { id, title, kind, names } = exercise;
    const { parts, read, write } = inputs(exercise);
    const said = html("p", { class: "eam-said", role: "status", "aria-live": "polite" });
    const say = (text, correct) => {
      said.textContent = text;
      said.dataset.correct = correct ?? "";
    };
    const answer = (typed) => {
      if (kind === "choice" && !typed.length) throw new Error("Choose one of them.");
      return eam.judge(exercise, kind === "choice" ? typed[0] : eam.readNumbers(names, typed));
    };
    const show = (typed) => {
      try {
        const { correct, message } = answer(typed);
        say(`${mark(correct)} ${message}`, correct);
        return correct;
      } catch (error) {
        say(error.message);
        return null;
      }
    };
    const form = html("form", { class: "eam-form" }, parts,
      html("button", { type: "submit", class: "eam-button" }, "Check"), said);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const typed = read();
      const correct = show(typed);
      if (correct === null) return;
      const given = kind !== "named" ? typed[0].trim()
        : typed.map((text, i) => `${names[i]} = ${text.trim()}`).join(", ");
      const tries = (recall()[id]?.tries ?? 0) + 1;
      keep(id, { title: `${id} ${title}`, given, typed, correct, tries });
    });
    place.replaceChildren(form);
    forgotten.push(() => { write([]); say(""); });
    const before = kept[id]?.typed;
    if (Array.isArray(before)) {
      write(before.map(String));
      show(read());
    }
  };

  const chapterOf = () => {
    const page = decodeURIComponent(location.pathname).split("/").pop().replace(/\.html$/, "");
    return Number.parseInt(page, 10) || page || "index";
  };

  /** The first of its answers that is opened is the answer to a quick question. */
  const mountQuick = (chapter) => {
    const questions = new Map();  // letter: {title, options}
    let open = null;
    for (const node of document.querySelectorAll("section > *")) {
      const title = node.matches("p") ? node.querySelector("strong")?.textContent : "";
      const asked = /^([A-Z])\. /.exec(title ?? "");
      const option = open && node.matches("details") && words(node.querySelector("summary"));
      if (asked) {
        open = { title: `Quick question ${chapter}.${words(node)}`, options: [] };
        questions.set(asked[1], open);
      } else if (option) {
        open.options.push({ node, option });
      } else {
        open = null;
      }
    }
    for (const [letter, { title, options }] of questions) {
      const key = `${chapter}.${letter}`;
      const tag = html("small", { class: "eam-chosen" });
      const choose = ({ node, correct }) => {
        tag.textContent = `${mark(correct)} your answer`;
        node.querySelector("summary").append(tag);
      };
      for (const { node, option } of options) {
        const right = /^Yes\b/.test(words(node).slice(option.length).trim());
        if (kept[key]?.given === option) choose({ node, correct: right });
        node.addEventListener("toggle", () => {
          if (!node.open || recall()[key]) return;
          choose({ node, correct: right });
          keep(key, { title, given: option, correct: right, tries: 1 });
        });
      }
      forgotten.push(() => { tag.remove(); });
    }
    return questions.size;
  };

  const mountPrediction = (box, n, chapter) => {
    const key = `${chapter}.?${n + 1}`;
    const question = words(box).replace(words(box.querySelector(".admonition-title")), "").trim();
    const id = `eam-answer-${++count}`;
    const area = html("textarea", { id, rows: 2, autocomplete: "off" });
    area.value = kept[key]?.given ?? "";
    area.addEventListener("input", () => {
      const title = `Prediction ${chapter}.${n + 1}: ${question}`;
      if (area.value.trim()) keep(key, { title, given: area.value });
      else drop(key);
    });
    forgotten.push(() => { area.value = ""; });
    box.append(html("div", { class: "eam-form" }, html("label", { for: id }, "Your prediction"), area));
  };

  const save = () => {
    const day = new Date().toLocaleDateString("en-CA");  // 2026-01-31
    const text = eam.answersAsText(recall(), day);
    const link = html("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })),
      download: `answers-${day}.txt` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const forget = () => {
    if (!confirm("Forget your answers and predictions on all pages?")) return;
    for (const empty of forgotten) empty();
    store({});
  };
  const tell = () => {
    if (!panel) return;
    const all = Object.values(kept);
    const judged = all.filter(({ correct }) => correct !== undefined);
    const right = judged.filter(({ correct }) => correct).length;
    panel.textContent = all.length
      ? `On all pages: ${right} right of ${judged.length} answered, ` +
        `${all.length - judged.length} predictions written. All of it stays in this browser; ` +
        "to show it to your lecturer, save it as a text."
      : "What you answer on these pages stays in this browser.";
  };

  /** Start all that can be answered on a rendered page. */
  eam.mountAnswers = () => {
    recall();
    const chapter = chapterOf();
    const exercises = document.querySelectorAll("[data-eam-answer]");
    const predictions = document.querySelectorAll(".admonition.predict");
    for (const place of exercises) mountExercise(place);
    predictions.forEach((box, n) => mountPrediction(box, n, chapter));
    if (!(exercises.length + mountQuick(chapter) + predictions.length)) return;
    panel = html("p", {});
    (document.querySelector("#exercises") ?? document.querySelector("article") ?? document.body).append(
      html("section", { class: "eam-kept", "aria-label": "Your answers" }, panel,
        eam.button("Save my answers", save), " ", eam.button("Forget them", forget)));
    tell();
  };
  globalThis.document?.addEventListener("DOMContentLoaded", eam.mountAnswers);
})();
