// needs: core playground analysis answers figures
/* Compose the class: each laptop's answer as a text, and the lecturer's sum of them. */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const { html } = eam;
  const ENOUGH = 5;  // people, from which on a Gaussian says little less than the posterior

  eam.widgets.classroom = (el) => {
    const sources = {};  // what this machine can tell of, newest of each kind
    const added = [];
    const status = html("p", { class: "eam-status", role: "status", "aria-live": "polite" });
    const problem = html("div", { class: "eam-question", role: "alert" });
    const say = (text) => { status.textContent = text; };
    const { node: progress, run } = eam.lab.worker(say);
    const choice = eam.lab.modelChoice(say, () => { added.length = 0; mine.replaceChildren(); update(); });
    const mine = html("div");
    const offers = html("div", { class: "eam-buttons" });
    const sum = html("div");

    const modelOf = () => {
      const { fingerprint, label, global } = choice.model;
      return { fingerprint, label, dim: global.dim };
    };
    const make = async (what) => {
      problem.replaceChildren();
      try {
        const model = await choice.ready();
        if (!model) return;
        const found = await run(eam.lab.population(model, eam.lab.trialsOf(model, what),
          { draws: eam.lab.CLASS_DRAWS }));
        if (!found) return;
        const { dim, fingerprint } = modelOf();
        const text = eam.answers.toText(
          eam.answers.answer(found.z, dim, what.trials.length), fingerprint);
        const numbers = dim + (dim * (dim + 1)) / 2;
        const area = html("textarea", { readonly: "", rows: 4, "aria-label": "The answer of this machine" });
        area.value = text;
        area.addEventListener("focus", () => area.select());
        mine.replaceChildren(area, html("div", { class: "eam-buttons" },
          eam.lab.copier("Copy the text", area),
          eam.button("Add it to the sum", () => add(text))),
        html("div", { class: "eam-qr" }, eam.figures.code(text)),
        html("p", { class: "eam-note" }, `${numbers} numbers stand for ${what.label}: no trial is in them.`));
        say("");
      } catch (error) {
        problem.replaceChildren(html("p", {}, `The networks could not answer: ${error.message}`));
      }
    };
    const showOffers = () => offers.replaceChildren(...(Object.values(sources).length
      ? Object.values(sources).map((what) => eam.button(`Answer for ${what.label}`, () => make(what)))
      : [html("p", { class: "eam-note" }, "Take part above, or read a file in the lab: then this machine " +
        "has something to tell.")]));

    const box = html("textarea", { rows: 4, id: "eam-pasted", spellcheck: "false",
      placeholder: "eam1. …" });
    /** Add the texts that stand in `given`, one or many. */
    const add = async (given) => {
      try {
        if (!await choice.ready()) return;
      } catch (error) {
        problem.replaceChildren(html("p", {}, `The networks could not be asked: ${error.message}`));
        return;
      }
      const texts = given.trim().split(/\s+(?=eam1\.)/).filter(Boolean);
      const left = [];
      const faults = [];
      texts.forEach((text, i) => {
        try {
          const found = eam.answers.fromText(text, modelOf());
          if (added.some((one) => one.text === found.text)) {
            throw new Error("this answer is there already: every machine counts once.");
          }
          added.push(found);
          eam.answers.total(added, modelOf().dim);  // refuses what is no posterior
        } catch (error) {
          if (added.at(-1)?.text === text.replace(/\s+/g, "") && /add up/.test(error.message)) added.pop();
          faults.push(`${texts.length > 1 ? `Text ${i + 1}: ` : ""}${error.message}`);
          left.push(text);
        }
      });
      if (!texts.length) faults.push("There is no text to add: paste what a machine shows.");
      problem.replaceChildren(...faults.map((text) => html("p", {}, text)));
      box.value = left.join("\n");
      update();
    };
    const update = () => {
      const { model } = choice;
      if (!added.length) { sum.replaceChildren(); return; }
      const { dim } = modelOf();
      const totals = added.map((_, i) => eam.answers.total(added.slice(0, i + 1), dim));
      const small = added.filter(({ count }) => count < ENOUGH).length;
      const people = totals.at(-1).count;
      say(`${eam.count(added.length)} ${added.length === 1 ? "answer" : "answers"}, ${eam.count(people)} ` +
        `${people === 1 ? "person" : "people"}.`);
      sum.replaceChildren(
        eam.lab.figure("The class's posterior: the sum of the answers, with the last sums before it, " +
          "fainter the older.", (width) => eam.figures.growing(width, model, totals)),
        small ? html("p", { class: "eam-note" }, `${small} of ${added.length} answers are of fewer than ` +
          `${ENOUGH} people: so small a group's posterior is no Gaussian, and the sum of such answers is ` +
          "rough; let people who sit together take part on one machine.") : "",
        html("ol", { class: "eam-notes" }, added.map((one, i) => html("li", {},
          `${eam.count(one.count)} ${one.count === 1 ? "person" : "people"} `,
          eam.button("Take out", () => { added.splice(i, 1); update(); },
            { "aria-label": `Take out answer ${i + 1}` })))));
    };

    eam.lab.news.hear((what) => { sources[what.source] = what; showOffers(); });
    showOffers();
    el.replaceChildren(html("section", { class: "eam-widget eam-lab", "aria-label": "Compose the class" },
      choice.node,
      html("h3", {}, "This machine's answer"), offers, mine,
      html("h3", {}, "The sum"),
      html("label", { for: "eam-pasted" }, "Paste the texts of the machines, one or many:"), box,
      html("div", { class: "eam-buttons" }, eam.button("Add", () => add(box.value))),
      problem, status, progress, sum));
  };
})();
