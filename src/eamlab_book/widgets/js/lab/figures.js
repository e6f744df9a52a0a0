// needs: core
/* The lab page's pictures, in the look of the book's other widgets. */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const STEPS = 90;
  const MOST_ROWS = 60;  // people that get a line of their own
  const PEOPLE_HEIGHT = 460;

  const sorted = (values) => Float64Array.from(values).sort();
  const thinned = (values, n = 80) => {
    const all = sorted(values);
    return Array.from({ length: n }, (_, i) => all[Math.floor(((i + 0.5) * all.length) / n)]);
  };
  const grid = (low, high) =>
    Array.from({ length: STEPS }, (_, i) => low + ((high - low) * i) / (STEPS - 1));
  const normal = (m, sd) => (x) =>
    Math.exp(-0.5 * ((x - m) / sd) ** 2) / (sd * Math.sqrt(2 * Math.PI));
  const picture = (width, height, label, ...parts) => eam.svg("svg", { role: "img",
    "aria-label": label, width, height, viewBox: `0 0 ${width} ${height}` }, parts);

  /** Curves of a parameter: each is {points} (draws), or {mean, sd}, with a class, perhaps faint. */
  const panel = ({ title, label = "", note, curves, range }, [left, top, width, height]) => {
    const base = top + height - 22;
    const x = eam.scale(...range, left + 6, left + width - 10);
    const at = grid(...range);
    const drawn = curves.map(({ points, mean, sd }) =>
      (points ? eam.density(thinned(points), at) : at.map(normal(mean, sd))));
    const peak = Math.max(...drawn.flat());
    const y = eam.scale(0, 1.08 * peak, base, top + 38);
    return [
      eam.svg("text", { class: "eam-title", x: left + 6, y: top + 14 }, title),
      eam.beside(label, [left, top, width]),
      eam.svg("text", { class: "eam-small", x: left + 6, y: top + 32 }, note),
      curves.map(({ role, faint }, k) => eam.svg("path", { class: role,
        ...(faint ? { opacity: faint } : {}),
        d: eam.path(at.map((v, i) => [x(v), y(drawn[k][i])])) })),
      eam.axis(x, base, 3),
    ];
  };
  const legend = (rows, [left, top]) => rows.map(([role, text], i) => [
    eam.svg("path", { class: role, d: `M${left + 8} ${top + 20 + 22 * i}h26` }),
    eam.svg("text", { x: left + 42, y: top + 24 + 22 * i }, text),
  ]);
  /** Panels in a grid, and a legend in the last cell. */
  const panels = (width, label, list, rows) => {
    const columns = width >= 620 ? 4 : 2;
    const [w, h] = [width / columns, 132];
    const box = (i) => [w * (i % columns), h * Math.floor(i / columns), w, h];
    const height = h * Math.ceil((list.length + 1) / columns);
    return picture(width, height, label, list.map((one, i) => panel(one, box(i))),
      legend(rows, box(list.length)));
  };

  const reach = (m, sd, ...draws) => draws.reduce(([low, high], values) => {
    const all = sorted(values);
    return [Math.min(low, all[0]), Math.max(high, all[all.length - 1])];
  }, [m - 3 * sd, m + 3 * sd]);
  const words = (m, sd) => `${eam.number(m, 2)} ± ${eam.number(sd, 2)}`;

  /** The group's posterior on its prior; `summaries` by name. */
  const population = (width, { global: { names, means, sds }, words: known }, values, summaries) =>
    panels(width, `Posterior of the population: ${names.map((name) =>
      `${name} ${words(summaries[name].mean, summaries[name].sd)}`).join("; ")}.`,
    names.map((name, k) => ({
      title: eam.symbol(known[name].symbol),
      label: known[name].label,
      note: words(summaries[name].mean, summaries[name].sd),
      range: reach(means[k], sds[k], values[name]),
      curves: [{ mean: means[k], sd: sds[k], role: "eam-prior" },
        { points: values[name], role: "eam-composed" }],
    })), [["eam-composed", "posterior"], ["eam-prior", "prior"]]);

  /** A person's parameters before and after her trials. */
  const person = (width, kinds, before, after, summaries) =>
    panels(width, `You: ${kinds.map(({ name }) =>
      `${name} ${words(summaries[name].mean, summaries[name].sd)}`).join("; ")}.`,
    kinds.map(({ name, symbol }) => {
      const b = sorted(before[name]);
      const cut = (q) => b[Math.round(q * (b.length - 1))];
      const a = sorted(after[name]);
      return { title: eam.symbol(symbol), note: words(summaries[name].mean, summaries[name].sd),
        range: [Math.min(cut(0.02), a[0]), Math.max(cut(0.98), a[a.length - 1])],
        curves: [{ points: before[name], role: "eam-prior" },
          { points: after[name], role: "eam-composed" }] };
    }), [["eam-composed", "after"], ["eam-prior", "before"]]);

  /** The class's posterior, {mean, sd} in prior z-scores, after each of the answers. */
  const growing = (width, { global: { names, means, sds }, words: known }, totals) => {
    const now = totals.at(-1);
    const at = ({ mean, sd }, k) => ({ mean: means[k] + sds[k] * mean[k], sd: sds[k] * sd[k] });
    return panels(width, `The class's posterior after ${totals.length} answers: ${names.map(
      (name, k) => `${name} ${words(at(now, k).mean, at(now, k).sd)}`).join("; ")}.`,
    names.map((name, k) => {
      const { mean, sd } = at(now, k);
      return { title: eam.symbol(known[name].symbol),
        label: known[name].label,
        note: words(mean, sd),
        range: reach(means[k], sds[k], [mean - 3 * sd, mean + 3 * sd]),
        curves: [{ mean: means[k], sd: sds[k], role: "eam-prior" },
          ...totals.slice(-6, -1).map((one, i, some) =>
            ({ ...at(one, k), role: "eam-composed", faint: 0.12 + (0.3 * i) / some.length })),
          { mean, sd, role: "eam-composed" }] };
    }), [["eam-composed", "the class"], ["eam-prior", "prior"]]);
  };

  /** Every person's median time and share of upper choices. */
  const look = (width, people) => {
    const height = 220;
    const medians = people.map(({ median }) => median);
    const x = eam.scale(0, 1.1 * Math.max(...medians), 44, width - 12);
    const y = eam.scale(0, 1, height - 40, 14);
    return picture(width, height, `${people.length} people: share of upper choices against median ` +
      "response time, a dot each.",
    [0, 0.5, 1].map((v) => [
      eam.svg("text", { class: "eam-small", x: 38, y: y(v) + 4, "text-anchor": "end" }, `${100 * v} %`),
      eam.svg("path", { d: `M44 ${y(v)}H${width - 12}`, stroke: "var(--eam-line)",
        "stroke-opacity": 0.5 })]),
    people.map(({ median, upper }) => eam.svg("circle", { class: "eam-dot", cx: x(median).toFixed(1),
      cy: y(upper).toFixed(1), r: people.length > 200 ? 2 : 4, opacity: people.length > 60 ? 0.5 : 0.8 })),
    eam.axis(x, height - 36, Math.max(3, Math.floor(width / 120))),
    eam.svg("text", { class: "eam-small", x: width / 2, y: height - 6, "text-anchor": "middle" },
      width > 480 ? "median response time (s); upward: share of upper choices" : "median time (s)"));
  };

  /** 90 % intervals of every person; `rows` have an id and the summaries by parameter. */
  const people = (width, kinds, rows) => {
    const named = rows.length <= MOST_ROWS;
    const step = named ? 14 : PEOPLE_HEIGHT / rows.length;
    const order = named ? rows
      : rows.slice().sort((a, b) => a[kinds[0].name].mean - b[kinds[0].name].mean);
    const margin = named ? 58 : 8;
    const cell = (width - margin) / kinds.length;
    const bottom = 30 + step * rows.length;
    return picture(width, bottom + 26, `90 % intervals of ${rows.length} people for ` +
      `${kinds.map(({ name }) => name).join(", ")}.`,
    named ? order.map(({ id }, j) => eam.svg("text", { class: "eam-small", x: margin - 6,
      y: 34 + step * j, "text-anchor": "end" }, String(id).slice(0, 8))) : "",
    kinds.map(({ name, symbol }, k) => {
      const ends = [Math.min(...rows.map((r) => r[name].q05)), Math.max(...rows.map((r) => r[name].q95))];
      const x = eam.scale(...ends, margin + k * cell + 6, margin + (k + 1) * cell - 10);
      return [
        eam.svg("text", { class: "eam-title", x: margin + k * cell + 6, y: 14 }, eam.symbol(symbol)),
        eam.svg("path", { style: `fill:none;stroke:var(--eam-composed);stroke-width:${named ? 2 : 0.8}`,
          d: order.map((r, j) => `M${x(r[name].q05).toFixed(1)} ${(30 + step * j).toFixed(1)}` +
            `H${x(r[name].q95).toFixed(1)}`).join("") }),
        order.map((r, j) => eam.svg("circle", { class: "eam-dot", r: named ? 3 : 1,
          cx: x(r[name].mean).toFixed(1), cy: (30 + step * j).toFixed(1) })),
        eam.axis(x, bottom, cell > 160 ? 3 : 2),
      ];
    }));
  };

  /** Distances of the check, each in units of its limit. */
  const distances = (width, comparisons) => {
    const [row, margin] = [17, Math.min(168, 0.45 * width)];
    const x = eam.scale(-2, 2, margin, width - 12);
    const height = row * comparisons.length + 34;
    const bottom = height - 26;
    return picture(width, height, "Distances of data and draws from what the model expects, in units " +
      `of the limit: ${comparisons.map((c) => `${c.name} ${eam.number(c.z / c.limit, 1)}`).join(", ")}.`,
    eam.svg("rect", { x: x(-1), y: 0, width: x(1) - x(-1), height: bottom,
      style: "fill:var(--eam-composed);fill-opacity:0.1" }),
    comparisons.map((c, i) => {
      const at = Math.max(-2, Math.min(2, c.z / c.limit));
      return [
        eam.svg("text", { class: c.unusual ? "eam-far" : "eam-small", x: margin - 8, y: row * i + 14,
          "text-anchor": "end" }, c.name),
        eam.svg("circle", { cx: x(at).toFixed(1), cy: row * i + 10, r: 4.5,
          style: `fill:var(--eam-${c.unusual ? "accent" : "composed"})` }),
      ];
    }),
    eam.axis(x, bottom, 4));
  };

  /** A QR code of a text, dark on light on any page. */
  const code = (text, size = 232) => {
    const { modules } = new globalThis.QRCode({ content: text, ecl: "L" }).qrcode;
    const n = modules.length;
    const d = modules.flatMap((row, r) =>
      row.map((dark, c) => (dark ? `M${c} ${r}h1v1h-1z` : ""))).join("");
    return eam.svg("svg", { role: "img", "aria-label": "QR code of the answer's text", width: size,
      height: size, viewBox: `-4 -4 ${n + 8} ${n + 8}`, "shape-rendering": "crispEdges" },
    eam.svg("rect", { x: -4, y: -4, width: n + 8, height: n + 8, fill: "#fff" }),
    eam.svg("path", { d, fill: "#000" }));
  };

  eam.figures = { population, person, growing, look, people, distances, code };
})();
