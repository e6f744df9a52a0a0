// needs: core playground reading check analysis figures
/* The lab: a file of trials through the networks, without leaving the reader's machine. */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const { html } = eam;
  const { ELSE, YOURS, plain } = eam.reading;
  const MOST_SHOWN = 200;  // rows of a table
  const UNIT = { s: "seconds", ms: "milliseconds", us: "microseconds" };

  const show = (value) => (typeof value === "number" ? plain(value) : `“${value}”`);
  /** An option in words, for a button. */
  const inWords = (options) => Object.entries(options).map(([name, value]) => {
    switch (name) {
      case "unit": return `The times are in ${UNIT[value]}`;
      case "decimal": return value === "," ? "Commas are decimal marks" : "Commas separate thousands";
      case "min_trials": return `Leave out people with fewer than ${value} usable trials`;
      case "rt_range": return `Keep times from ${value[0]} to ${value[1]} s`;
      case "conditions": return Object.values(value).map((pair) =>
        `Compare ${show(pair[0])} (-1/2) with ${show(pair[1])} (+1/2)`).join("");
      case "missing": return `${value.map(show).join(", ")}: no response`;
      case "coding": return value.map(([key, code]) => `${key === ELSE ? "all others" : show(key)}: ` +
        (code === null ? "no response" : code ? "upper" : "lower")).join("; ");
      default: return Object.entries(value).map(([role, column]) => (column === null
        ? "All rows are of one person"
        : `${role}: ${Array.isArray(column) ? column.map(show).join(" with ") : show(column)}`)).join("; ");
    }
  }).join("; ");

  /** What the parts of the page share: progress, cancel, and the model. */
  eam.lab.worker = (say) => {
    const bar = html("progress", { max: 1, value: 0, "aria-label": "Progress" });
    const cancel = eam.button("Cancel", () => controller?.abort(new Error("cancelled")));
    const node = html("div", { class: "eam-progress", hidden: "" }, bar, " ", cancel);
    let controller = null;
    /** Run a generator; a new one ends the one before. Returns null if it was ended. */
    const run = async (work) => {
      controller?.abort(new Error("replaced"));
      const mine = controller = new AbortController();
      node.hidden = false;
      const progress = (told) => {
        bar.value = told?.share ?? 0;
        if (told?.stage) say(`Computing ${told.stage} …`);
      };
      try {
        return await eam.engine.run(work, { progress, signal: mine.signal });
      } catch (error) {
        if (!mine.signal.aborted) throw error;
        if (controller === mine) say("Cancelled: what was there before stays.");
        return null;
      } finally {
        if (controller === mine) { node.hidden = true; controller = null; }
      }
    };
    return { node, run };
  };
  /**
   * Choose one of some models. `ready()` loads its networks, unless they are there, and returns the
   * model; or null if another has been chosen meanwhile.
   */
  eam.lab.modelChoice = (say, change, all = eam.lab.models) => {
    let [model] = all;
    const ready = async () => {
      const asked = model;
      if (!asked.global) {
        say(`Loading the networks of the model ${asked.label} …`);
        try {
          await eam.lab.ready(asked);
        } catch (error) {
          say("");
          throw new Error(`${error.message}; try again when the page's own folder can be reached.`);
        }
        if (asked === model) say(`The networks of the model ${asked.label} are in the page.`);
      }
      return asked === model ? asked : null;
    };
    const { node } = eam.choice({ label: "Model", name: "model", value: model.fingerprint,
      options: Object.fromEntries(all.map((one) => [one.fingerprint, one.label])) }, async (key) => {
      model = all.find(({ fingerprint }) => fingerprint === key);
      change();
      try {
        await ready();
      } catch (error) {
        say(error.message);
      }
    });
    return { node, ready, get model() { return model; } };
  };
  /** A picture that is drawn anew for every width. */
  eam.lab.figure = (caption, draw) => {
    const place = html("div", { class: "eam-picture" });
    eam.fit(place, (width) => place.replaceChildren(draw(width)));
    return html("div", { class: "eam-figure" }, place, html("p", { class: "eam-caption" }, caption));
  };
  eam.lab.save = (name, text) => {
    const link = html("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })),
      download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  /** A button that copies what stands in a node, or selects it where the browser lets no page copy. */
  eam.lab.copier = (label, node) => {
    const note = html("span", { class: "eam-status", role: "status" });
    return [eam.button(label, async () => {
      try {
        await navigator.clipboard.writeText(node.value ?? node.textContent);
        note.textContent = "Copied.";
      } catch {
        node.focus();
        if (node.select) node.select(); else getSelection().selectAllChildren(node);
        note.textContent = "The browser lets no page copy here: the text is selected for you.";
      }
    }), note];
  };
  const table = (label, head, rows) => html("div", { class: "eam-scroll", tabindex: 0, role: "region",
    "aria-label": label },
  html("table", {}, html("thead", {}, html("tr", {}, head.map((name) => html("th", { scope: "col" }, name)))),
    html("tbody", {}, rows.slice(0, MOST_SHOWN).map((row) =>
      html("tr", {}, row.map((value) => html("td", {}, value)))))),
  rows.length > MOST_SHOWN ? html("p", { class: "eam-note" },
    `The first ${MOST_SHOWN} of ${eam.count(rows.length)} rows.`) : "");
  const section = (title, ...parts) => html("section", { class: "eam-part" },
    html("h3", {}, title), parts);

  eam.widgets.lab = (el) => {
    const status = html("p", { class: "eam-status", role: "status", "aria-live": "polite" });
    const problem = html("div", { class: "eam-question", role: "alert" });
    const say = (text) => { status.textContent = text; };
    const { node: progress, run } = eam.lab.worker(say);
    const choice = eam.lab.modelChoice(say, () => { if (given) read(given); });
    const report = html("div");
    const results = html("div");
    let given = null;  // the file that is being read: {bytes, name, options}
    let study = null;

    const input = html("input", { type: "file", id: "eam-file", accept: ".csv,.txt,.tsv,.dat,text/*" });
    const zone = html("div", { class: "eam-drop" },
      html("label", { for: "eam-file" }, "Drop a CSV file here, or choose one:"), " ", input, " ",
      eam.button("Take the example", () => {
        const { name, text } = eam.lab.example;
        start(new TextEncoder().encode(text), name);
      }));
    const take = async (files) => {
      if (!files?.length) return;
      try {
        if (files.length > 1) throw new Error("one file at a time: put all people into one table.");
        const [file] = files;
        eam.reading.refuseLarge(file.name, file.size);
        await start(new Uint8Array(await file.arrayBuffer()), file.name);
      } catch (error) {
        ask(error);
      }
    };
    // Anywhere: a browser would leave the page for a file that is dropped beside the zone.
    const ended = new AbortController();
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        const over = kind === "dragleave" ? event.relatedTarget !== null : kind !== "drop";
        zone.classList.toggle("eam-over", over);
        if (kind === "drop") take(event.dataTransfer.files);
      }, { signal: ended.signal });
    }
    input.addEventListener("change", () => { take(input.files); input.value = ""; });

    const start = (bytes, name) => read({ bytes, name, options: {} });
    const read = async (next) => {
      problem.replaceChildren();
      say(`Reading ${next.name} …`);
      try {
        const { conditions } = choice.model;
        const { conditions: column, ...others } = next.options;
        const asked = conditions && column ? next.options : others;
        const found = await run(eam.reading.read(next.bytes, next.name, asked));
        if (!found) return;
        if (conditions && !column) {
          const known = found.names.find((name) => /^\s*condition\s*$/i.test(name));
          if (known !== undefined) {
            await read({ ...next, options: { ...others, conditions: String(known) } });
            return;
          }
          throw Object.assign(new Error(`The model ${choice.model.label.split(":")[0]} compares two ` +
            "conditions of the same people: say which column of the file has them."),
          { answers: [{ conditions: YOURS }], names: found.names });
        }
        [given, study] = [next, found];
        showReport();
        await analyze();
      } catch (error) {
        given = next;
        ask(error);
      }
    };
    /** Say what is unclear or wrong, and offer what the message offers. */
    const ask = (error) => {
      say(study ? `What is below is still of ${study.name}.` : "");
      const more = (options) => read({ ...given, options: { ...given.options, ...options } });
      const offers = (error.answers ?? []).flatMap((options) => {
        if (options.conditions === YOURS) return [columnChoice("condition", error.names, (name) =>
          more({ conditions: String(name) }))];
        const [role] = Object.entries(options.columns ?? {}).find(([, v]) => v === YOURS) ?? [];
        if (role) return [columnChoice(role, error.names, (name) =>
          more({ columns: { ...options.columns, [role]: name } }))];
        return [eam.button(inWords(options), () => more(options))];
      });
      if (given && Object.keys(given.options).length) {
        offers.push(eam.button("Forget my answers", () => read({ ...given, options: {} })));
      }
      problem.replaceChildren(html("p", {}, error.message), html("div", { class: "eam-buttons" }, offers));
      problem.querySelector("button, select")?.focus({ preventScroll: false });
    };
    const columnChoice = (role, names, choose) => {
      const select = html("select", { id: `eam-column-${role}` }, html("option", { value: "" }, "choose …"),
        names.map((name, i) => html("option", { value: i }, name)));
      select.addEventListener("change", () => { if (select.value !== "") choose(names[select.value]); });
      return html("label", {}, `The ${role} is in the column `, select);
    };

    // ------------------------------------------------------------------------------- what was read

    const peopleOf = () => study.subjects.map((id, j) => {
      const trials = study.trials[j];
      const times = Float64Array.from({ length: trials.length / 2 }, (_, i) => trials[2 * i + 1]).sort();
      let upper = 0;
      for (let i = 0; i < trials.length; i += 2) upper += trials[i];
      return { id, n: times.length, upper: upper / times.length, fastest: times[0],
        median: eam.reading.quantile(times, 0.5), slowest: times[times.length - 1] };
    });
    const showReport = () => {
      const people = peopleOf();
      const [kept, ...dropped] = study.report;
      const total = study.report.reduce((sum, row) => sum + row.trials, 0);
      const lost = total - kept.trials;
      const notes = study.notes.map(({ text, answer }) => html("li", {}, text, answer
        ? [" ", eam.button(inWords(answer), () =>
          read({ ...given, options: { ...given.options, ...answer } }))] : ""));
      const limits = limitControls();
      report.replaceChildren(
        section(`${study.name}: ${eam.count(people.length)} ${people.length === 1 ? "person" : "people"}, ` +
          `${eam.count(kept.trials)} trials`,
        html("p", { class: "eam-note" }, `Read: ${study.source}. Left out: ${eam.count(lost)} of ` +
          `${eam.count(total)} trials${lost ? ` (${eam.percent(lost / total)})` : ""}.`),
        dropped.length ? table("What was left out", ["trials", "of people", "why", "lines"],
          dropped.map((row) => [eam.count(row.trials), eam.count(row.subjects), row.reason, row.where])) : "",
        notes.length ? html("ul", { class: "eam-notes" }, notes) : "",
        eam.lab.figure("Every person: how fast, and how often upper. Is anybody guessing?",
          (width) => eam.figures.look(width, people)),
        html("details", {}, html("summary", {}, "The people as a table"),
          table("People", ["subject", "trials", "upper", "fastest", "median", "slowest"],
            people.map((p) => [String(p.id), eam.count(p.n), eam.percent(p.upper),
              ...[p.fastest, p.median, p.slowest].map((t) => eam.number(t, 3))]))),
        html("details", {}, html("summary", {}, "Leave out more, or read it in another way"), limits)));
    };
    const limitControls = () => {
      const { rt_range: range = [], min_trials: least = "", unit = "s" } = given.options;
      const field = (label, value, extra) => {
        const node = html("input", { type: "number", min: 0, value: value ?? "", ...extra });
        return { node: html("label", {}, `${label} `, node), read: () => node.value.trim() };
      };
      const low = field("Shortest time (s)", range[0], { step: 0.05 });
      const high = field("Longest time (s)", range[1], { step: 0.5 });
      const few = field("Fewest trials of a person", least, { step: 1 });
      const units = html("select", {}, Object.entries(UNIT).map(([key, text]) =>
        html("option", { value: key, ...(key === unit ? { selected: "" } : {}) }, text)));
      const again = eam.button("Read again", () => {
        const options = { ...given.options };
        for (const key of ["rt_range", "min_trials"]) delete options[key];
        if (units.value !== unit) options.unit = units.value;
        if (low.read() || high.read()) options.rt_range = [Number(low.read() || 0), Number(high.read() || 100)];
        if (few.read()) options.min_trials = Number(few.read());
        read({ ...given, options });
      });
      return html("div", { class: "eam-fields" }, html("label", {}, "Unit ", units), low.node, high.node,
        few.node, again, eam.button("Forget my answers", () => read({ ...given, options: {} })));
    };

    // ---------------------------------------------------------------------------------- the networks

    function* everything(model, trials) {
      const found = yield* eam.lab.scaled(eam.lab.population(model, trials), 0, 0.6, "the population");
      const own = yield* eam.lab.scaled(eam.lab.people(model, found.values, trials), 0.6, 1, "each person");
      return { ...found, own };
    }
    const analyze = async () => {
      try {
        const model = await choice.ready();
        if (!model) return;
        const begun = performance.now();
        const found = await run(everything(model, eam.lab.trialsOf(model, study)));
        if (!found) return;
        const seconds = (performance.now() - begun) / 1000;
        showResults(model, found, seconds);
        const { name: label, trials, codes } = study;
        eam.lab.news.tell({ source: "study", label, trials, codes, values: found.values, model });
        const check = await run(eam.lab.scaled(
          eam.check.check(model.global, found.values, study.trials, { under: study }), 0, 1,
          "studies to compare with"));
        if (!check) return;
        showCheck(model, check);
        say(`Done: ${study.name} was read, and ${eam.count(study.subjects.length)} people's posteriors ` +
          `were computed in your browser in ${eam.number(seconds, 1)} s.`);
      } catch (error) {
        problem.replaceChildren(html("p", {}, `The networks could not answer: ${error.message}`));
        say("");
      }
    };
    const check = html("div");
    const showResults = (model, { values, own }, seconds) => {
      const { global: { names }, local } = model;
      const summaries = Object.fromEntries(names.map((name) => [name, eam.lab.summary(values[name])]));
      const J = study.subjects.length;
      const rows = own && study.subjects.map((id, j) => ({ id, ...Object.fromEntries(local.people.map(
        ({ name }) => [name, eam.lab.summary(eam.lab.of(own[name], J, j))])) }));
      check.replaceChildren(html("p", { class: "eam-note" }, "The check is on its way …"));
      const files = eam.lab.tables(model, study, values, own);
      const python = eam.lab.snippet(model, study);
      const code = html("pre", { class: "eam-code", tabindex: 0, "aria-label": "Python" }, python);
      results.replaceChildren(
        section("Can the networks know these data?", check),
        section("The population",
          eam.lab.figure(`Posterior of the group parameters from ${eam.count(eam.lab.DRAWS)} draws of the ` +
            "network; mean ± standard deviation.",
          (width) => eam.figures.population(width, model, values, summaries)),
          html("details", {}, html("summary", {}, "The population as a table"),
            table("The population", ["parameter", "meaning", "mean", "sd", "5 %", "95 %"],
              names.map((name) => [name, model.words[name].meaning,
                ...["mean", "sd", "q05", "q95"].map((k) => eam.number(summaries[name][k], 3))])))),
        rows ? section("Each person",
          eam.lab.figure("Means and 90 % intervals of every person's own parameters.",
            (width) => eam.figures.people(width, local.people, rows)),
          html("details", {}, html("summary", {}, "Each person as a table"),
            table("Each person", ["subject", ...local.people.flatMap(({ name }) => [name, "sd"])],
              rows.map((row) => [String(row.id), ...local.people.flatMap(({ name }) =>
                ["mean", "sd"].map((k) => eam.number(row[name][k], 3)))])))) : "",
        section("Take it along",
          html("div", { class: "eam-buttons" },
            Object.entries(files).map(([name, text]) =>
              eam.button(`Save ${name}`, () => eam.lab.save(name, text))),
            eam.button("Save analysis.py", () => eam.lab.save("analysis.py", python)),
            eam.lab.copier("Copy the Python", code)),
          code));
      results.dataset.seconds = seconds.toFixed(2);
    };
    const showCheck = (model, found) => {
      const warning = eam.check.warning(model.global, study.trials, found);
      const unusual = found.comparisons.filter((c) => c.unusual).length;
      const outside = eam.check.extrapolation(model.global, study.trials);
      check.replaceChildren(
        html("p", { class: warning ? "eam-status eam-problem" : "eam-note" }, warning
          ? "The data are unlike what the network was trained on; do not trust the draws before you " +
            "know why."
          : `Nothing unusual: ${found.comparisons.length} comparisons with the prior and with simulated ` +
            "studies."),
        html("ul", { class: "eam-notes" },
          [...outside, ...found.messages].map((text) => html("li", {}, text))),
        eam.lab.figure(`Distances from what the model expects, in units of the limit of each; ${unusual} ` +
          "beyond it (orange). First the draws and the data against the prior, then the data against " +
          "the draws.", (width) => eam.figures.distances(width, found.comparisons)));
    };

    el.replaceChildren(html("section", { class: "eam-widget eam-lab", "aria-label": "The lab" },
      choice.node, zone, problem, status, progress, report, results));
    return () => ended.abort();
  };
})();
