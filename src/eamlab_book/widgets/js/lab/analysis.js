// needs: core playground reading check
/* What the lab page computes: a study through the networks of a model, as tables and as Python.
 *
 * What its models are the page knows from stored.js; their networks it loads when it needs them.
 */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const { reading } = eam;
  const DRAWS = 200;
  const CLASS_DRAWS = 400;  // the inverse of their covariance is what a class adds up

  /** A model {name, networks: [global, local], ...} with its networks, loaded at the first call. */
  const ready = async (model) => {
    for (const name of model.networks) {
      if (!eam.networks?.[name]) await eam.load(`engine/${name}.weights.js`);
    }
    const [global, local] = model.networks.map((name) => eam.networks[name]);
    model.global ??= eam.engine.load(global);
    model.local ??= local && eam.engine.load(local);
    return Object.assign(model, { words: model.global.words });
  };

  const scaled = function* scaled(work, from, to, stage) {
    let step;
    while (!(step = work.next()).done) {
      const share = step.value?.share ?? step.value ?? 0;
      yield { share: from + (to - from) * share, stage };
    }
    return step.value;
  };

  /** A study's trials as a model's networks take them: with codes where it has conditions. */
  const trialsOf = ({ conditions, label }, { trials, codes }) => {
    if (!conditions) return trials;
    if (!codes) throw new Error(`trials of two conditions are needed for ${label}.`);
    return trials.map((own, j) =>
      codes[j].flatMap((code, i) => [own[2 * i], own[2 * i + 1], code]));
  };

  /** The group's posterior from people's trials: {z, values}. */
  function* population(model, people, { draws = DRAWS, seed = 1 } = {}) {
    const { engine } = eam;
    const stage = "the population";
    const summaries = yield* scaled(engine.summarize(model.global, people), 0, 0.3, stage);
    const groups = yield* scaled(engine.prepare(model.global, summaries), 0.3, 0.35, stage);
    const work = engine.gaussianComposition(groups, { draws, seed });
    return yield* scaled(work, 0.35, 1, stage);
  }
  /** Draws (S x J) of people's parameters, by name, given the group's; null without a network. */
  function* people(model, values, trials, { seed = 1 } = {}) {
    if (!model.local) return null;
    return yield* scaled(eam.engine.people(model.local, values, trials, { seed }), 0, 1, "each person");
  }

  /** What a person is before her trials: one of each of the populations drawn. */
  const unseen = (model, values, seed = 2) => {
    const { normal } = eam.random(seed);
    const kinds = model.local.people;
    const count = values[kinds[0].mean].length;
    return Object.fromEntries(kinds.map(({ name, mean, log_sd: spread, positive }) =>
      [name, Float64Array.from({ length: count }, (_, s) => {
        const x = values[mean][s] + Math.exp(values[spread][s]) * normal();
        return positive ? Math.exp(x) : x;
      })]));
  };
  const priorDraws = ({ global: { names, means, sds } }, draws = DRAWS, seed = 3) => {
    const { normal } = eam.random(seed);
    return Object.fromEntries(names.map((name, k) => [name,
      Float64Array.from({ length: draws }, () => means[k] + sds[k] * normal())]));
  };

  /**
   * One person's posterior, before and after her trials [choice, time, ...]: {before, after, group}.
   * `others` are draws of a population that she belongs to; without them her own trials are all that
   * is known of it.
   */
  function* person(model, trials, { others = null, draws = DRAWS, seed = 1 } = {}) {
    if (!model.local) throw new Error(`the model ${model.name} has no network for people here.`);
    const group = others ? { values: others } :
      yield* scaled(population(model, [trials], { draws, seed }), 0, 0.8, "the population");
    const work = people(model, group.values, [trials], { seed });
    const after = yield* scaled(work, 0.8, 1, "you");
    return { before: unseen(model, others ?? priorDraws(model, draws)), after, group: group.values };
  }

  // -------------------------------------------------------------------------------------- tables

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  /** Mean, sd and quantiles, as `Draws.summary` has them. */
  const summary = (values) => {
    const m = mean(values);
    const sd = Math.sqrt(values.reduce((a, v) => a + (v - m) ** 2, 0) / (values.length - 1));
    const sorted = Float64Array.from(values).sort();
    const [q05, median, q95] = [0.05, 0.5, 0.95].map((q) => reading.quantile(sorted, q));
    return { mean: m, sd, q05, median, q95 };
  };
  const of = (draws, J, j) =>
    Float64Array.from({ length: draws.length / J }, (_, s) => draws[s * J + j]);

  const cell = (value) => {
    const text = String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (columns, rows) =>
    [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";

  /** The tables that `Draws.write` writes, as text by the names of their files. */
  const tables = (model, study, values, own) => {
    const { names } = model.global;
    const count = values[names[0]].length;
    const rows = Array.from({ length: count }, (_, s) => [s, ...names.map((name) => values[name][s])]);
    const found = { "group_draws.csv": csv(["draw", ...names], rows) };
    const columns = ["mean", "sd", "q05", "median", "q95"];
    const numbers = (draws) => { const s = summary(draws); return columns.map((k) => s[k]); };
    found["group_summary.csv"] = csv(["parameter", ...columns],
      names.map((name) => [name, ...numbers(values[name])]));
    if (own) {
      const J = study.subjects.length;
      const each = study.subjects.flatMap((id, j) => Object.entries(own).map(([name, draws]) =>
        [id, name, study.trials[j].length / 2, ...numbers(of(draws, J, j))]));
      found["subject_summary.csv"] = csv(["subject", "parameter", "n_trials", ...columns], each);
    }
    return found;
  };

  /** The same analysis in Python. */
  const snippet = (model, { name, options = {} }) => {
    const given = Object.entries(options).filter(([, value]) => value !== undefined &&
      !(Array.isArray(value) && !value.length));
    const said = given.map(([key, value]) => `, ${reading.written({ [key]: value })}`).join("");
    return [
      "import eamlab as el",
      "",
      `study = el.read_trials(${reading.literal(name)}${said})`,
      "print(study)",
      `draws = el.compose(el.load_pretrained("${model.name}"), study, num_samples=${DRAWS}, seed=1)`,
      ...(model.local ? [
        `draws = el.people(el.load_pretrained("${model.local.name}"), draws, study, seed=1)`] : []),
      "print(*el.check(draws.group, study).messages, sep=\"\\n\")",
      'draws.write("results", study)',
      "",
    ].join("\n");
  };

  /** Shared out between the parts of the page. */
  const listeners = [];
  const news = { tell: (what) => listeners.forEach((f) => f(what)), hear: (f) => listeners.push(f) };

  eam.lab = { ready, trialsOf, population, people, person, unseen, priorDraws, tables, snippet, summary,
    of, scaled, news, DRAWS, CLASS_DRAWS };
})();
