// needs: core playground ddm
/* Many minds: people drawn from a population, and the response times the population expects. */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const N_PEOPLE = 40;
  const END = 2;  // seconds
  const TIMES = Array.from({ length: 140 }, (_, i) => ((i + 1) * END) / 140);
  let clips = 0;

  /** Times of a person's curve, closest where it rises. */
  const times = (t0) => Array.from({ length: 90 }, (_, i) => t0 + (END - t0) * (i / 89) ** 2);

  /** Density of the population at v. */
  const spread = (positive, [mean, sd], v) => {
    const z = ((positive ? Math.log(v) : v) - mean) / sd;
    return Math.exp(-0.5 * z * z) / (sd * (positive ? v : 1) * Math.sqrt(2 * Math.PI));
  };

  const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  eam.widgets.population = (el, page, model) => {
    const { parameters, people: kinds, stops, beta: betas, nodes } = page.data;
    const betaOf = (raw) => betas[stops.beta_raw.indexOf(raw)];

    /** Mean and sd between people, of the logarithm of what is positive. */
    const levels = (group) => Object.fromEntries(kinds.map((kind) =>
      [kind.name, [group[kind.mean], Math.exp(group[kind.log_sd])]]));

    const begin = (group) => {
      const { normal } = eam.random(group.seed);
      const result = { histogram: null, ...Object.fromEntries(kinds.map(({ name }) => [name, []])) };
      for (let j = 0; j < N_PEOPLE; j++) {  // the same people as the sliders move
        for (const { name, positive } of kinds) {
          const [mean, sd] = levels(group)[name];
          const value = mean + sd * normal();
          result[name].push(positive ? Math.exp(value) : value);
        }
      }
      return { result, more: () => false, question: { end: END } };
    };

    /** Density of a response by anyone: the drift in closed form, the rest as a mean over nodes. */
    const anyone = (group) => {
      const { nu, alpha, t0 } = levels(group);
      const beta = betaOf(group.beta_raw);
      const zeros = () => new Array(TIMES.length).fill(0);
      const sum = { at: TIMES, upper: zeros(), lower: zeros() };
      for (const [z1, z2] of nodes) {
        const one = { nu: nu[0], beta, alpha: Math.exp(alpha[0] + alpha[1] * z1),
          t0: Math.exp(t0[0] + t0[1] * z2) };
        const part = eam.ddm.densities(TIMES, one, nu[1]);
        for (const side of ["upper", "lower"]) {
          for (let i = 0; i < TIMES.length; i++) sum[side][i] += part[side][i] / nodes.length;
        }
      }
      return sum;
    };

    const panel = ({ name, title, positive, range: [low, high] }, i, result, group, width) => {
      const cell = width / kinds.length;
      const x = eam.scale(low, high, i * cell + 6, (i + 1) * cell - 8);
      const values = Array.from({ length: 90 }, (_, k) => low + ((high - low) * (k + 0.5)) / 90);
      const curve = values.map((v) => spread(positive, levels(group)[name], v));
      const y = eam.scale(0, 1.05 * Math.max(...curve), 74, 22);
      const rug = result[name].filter((v) => v >= low && v <= high)
        .map((v) => `M${x(v).toFixed(1)} 76v10`).join("");
      return [
        eam.svg("text", { x: i * cell + 6, y: 12 }, title),
        eam.svg("path", { class: "eam-composed",
          d: eam.path(values.map((v, k) => [x(v), y(curve[k])])) }),
        eam.svg("path", { style: "stroke:var(--eam-ink);stroke-opacity:0.6", d: rug }),
        eam.axis(x, 88, 4),
      ];
    };

    const picture = (result, group, width) => {
      const beta = betaOf(group.beta_raw);
      const people = result.nu.map((nu, j) => (
        { nu, alpha: result.alpha[j], t0: result.t0[j], beta }));
      const [top, zero, bottom] = [122, 232, 342];
      const x = eam.scale(0, END, 8, width - 8);
      const mean = anyone(group);
      const curves = people.filter(({ t0 }) => t0 < END).map((one) => {
        const at = times(one.t0);
        return { at, ...eam.ddm.densities(at, one) };
      });
      // People may be sharper than can be drawn to scale: three times the population's peak at most.
      const peak = Math.min(3 * Math.max(...mean.upper, ...mean.lower),
        1.05 * Math.max(...curves.map(({ upper, lower }) => Math.max(...upper, ...lower))));
      const heights = { upper: eam.scale(0, peak, zero, top), lower: eam.scale(0, peak, zero, bottom) };
      const line = (density, side) =>
        eam.path(density.at.map((t, i) => [x(t), heights[side](density[side][i])]));
      const clip = `eam-people-${++clips}`;
      const side = (role) => [
        result.histogram ? eam.svg("path", { style: `fill:var(--eam-${role});fill-opacity:0.3`,
          d: eam.bars(result.histogram[role], 0, result.histogram.width, x, heights[role], zero) }) : "",
        eam.svg("path", { class: `eam-${role}`,
          style: "stroke-width:0.7;stroke-dasharray:none;opacity:0.55",
          d: curves.map((density) => line(density, role)).join("") }),
        eam.svg("path", { class: "eam-truth", fill: "none", style: "stroke-width:2.6",
          d: line(mean, role) }),
      ];
      const share = people.map(eam.ddm.probability);
      const means = people.map(eam.ddm.meanTime);
      const range = (values, digits) =>
        `${eam.number(Math.min(...values), digits)} to ${eam.number(Math.max(...values), digits)}`;
      const words = group.hide ? `${people.length} people, the values hidden.`
        : `${people.length} people. Upper choices: ${range(share.map((p) => 100 * p), 0)} % ` +
        `of a person's, ${eam.percent(average(share))} on average. Mean response times: ` +
        `${range(means, 2)} s. Drifts: ${range(result.nu, 1)}, boundaries: ` +
        `${range(result.alpha, 2)}, non-decision times: ${range(result.t0, 2)} s, ` +
        `β = ${eam.number(beta, 3)} for all.`;
      const at = group.hide ? "values that are hidden"
        : parameters.map(({ name }) => `${name} = ${eam.number(group[name], 2)}`).join(", ");
      const label = "Densities of drift, boundary and non-decision time in a population, each person " +
        "a tick; below, each person's response time density as a thin line, upper choices upward " +
        `and lower ones downward, and the population's as a thick one; for ${at}. ${words}`;
      const svg = eam.svg("svg", { role: "img", "aria-label": label, width, height: 382,
        viewBox: `0 0 ${width} 382` },
      eam.svg("clipPath", { id: clip },
        eam.svg("rect", { x: 0, y: top, width, height: bottom - top })),
      kinds.map((which, i) => panel(which, i, result, group, width)),
      eam.svg("g", { "clip-path": `url(#${clip})` }, side("upper"), side("lower")),
      eam.svg("path", { style: "stroke:var(--eam-quiet)", d: `M8 ${zero}H${width - 8}` }),
      eam.svg("text", { x: width - 10, y: top + 14, "text-anchor": "end" }, "upper choices"),
      eam.svg("text", { x: width - 10, y: bottom - 6, "text-anchor": "end" }, "lower choices"),
      eam.axis(x, bottom + 2, Math.max(4, Math.floor(width / 90))),
      eam.svg("text", { class: "eam-small", x: width / 2, y: 378, "text-anchor": "middle" },
        "response time (s)"));
      return { svg, words };
    };

    const controls = ({ slider, change, settings }) => {
      const sliders = parameters.map(({ name, symbol: [main, below], meaning }) => slider(name, {
        label: [main, eam.html("sub", {}, below)], note: meaning,
        format: (v) => eam.number(v, 2) + (name === "beta_raw" ? ` (β = ${eam.number(betaOf(v), 2)})` : ""),
      }));
      const draw = () => {
        const { normal } = eam.random(9000 + settings.seed);
        const group = Object.fromEntries(parameters.map(({ name, mean, sd }, i) => {
          let value = Infinity;  // the sliders end at 2.5 sds, where one draw in eighty is repeated
          while (!(value >= stops[name][0] && value <= stops[name].at(-1))) value = mean + sd * normal();
          const near = stops[name].reduce((a, b) => Math.abs(b - value) < Math.abs(a - value) ? b : a);
          sliders[i].set(near);
          return [name, near];
        }));
        change({ ...group, seed: settings.seed + 1 });
      };
      const buttons = eam.html("div", { class: "eam-buttons" },
        eam.button("draw a population from the prior", draw),
        eam.button("new people", () => change({ seed: settings.seed + 1 })),
        eam.tick({ label: "hide the values", name: "hide", value: settings.hide === 1 },
          (ticked) => { change({ hide: ticked ? 1 : 0 }); hide(); }).node);
      const hide = () => { for (const { node } of sliders) node.hidden = settings.hide === 1; };
      hide();
      return [...sliders.map(({ node }) => node), buttons];
    };
    return eam.playground(el, page, model, { title: "A population", controls, begin, picture,
      live: "Simulated by eamlab in Python, 20,000 decisions as bars:" });
  };
})();
