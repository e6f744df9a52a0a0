// needs: core playground ddm
/* One decision: paths between the bounds, response times above and below, the exact density. */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const N_DECISIONS = 4000;
  const N_PATHS = 14;
  const STEPS_A_FRAME = 300000;
  const N_BINS = 60;
  const UNSEEN = 0.02;  // share of the exact response times beyond the axis
  const AXES = [1, 1.5, 2, 3, 4, 6, 8, 12];

  const grid = (a, b, n) => Array.from({ length: n }, (_, i) => a + ((b - a) * (i + 0.5)) / n);
  const sum = (values) => values.reduce((a, b) => a + b, 0);

  /** The shortest of a few round axes that leaves hardly any response time out. */
  const axisEnd = (subject) => AXES.find((end) => {
    const { upper, lower } = eam.ddm.densities(grid(subject.t0, end, 200), subject);
    return ((sum(upper) + sum(lower)) * (end - subject.t0)) / 200 > 1 - UNSEEN;
  }) ?? AXES.at(-1);

  /** At most 200 points [time, evidence] of a walk. */
  const thin = (track, t0, step) => {
    const every = Math.ceil(track.length / 200);
    const last = track.length - 1;
    return track.map((x, i) => [t0 + i * step, x]).filter((_, i) => i % every === 0 || i === last);
  };

  eam.widgets.decision = (el, page, model) => {
    const { shift, max_time: maxTime } = page.data;
    const start = { ...page.settings };

    const begin = (settings) => {
      const { t0, alpha, dt, bounds, seed } = settings;
      const end = axisEnd(settings);
      const moved = bounds === "inward";
      // As in simulate.py: the bounds move by a twentieth of their distance at most.
      const step = moved ? Math.min(dt, ((0.05 * alpha) / shift) ** 2) : dt;
      const width = step * Math.max(1, Math.round(end / N_BINS / step));
      const bins = Math.ceil((end - t0) / width);
      const result = {
        n: 0, step, mean: 0, p_upper: 0, late: 0, first: t0 + step / 2, width, paths: [],
        upper: new Array(bins).fill(0), lower: new Array(bins).fill(0),
      };
      const walk = eam.ddm.walker(settings, { step, inward: moved ? shift : 0, maxTime, seed });
      let ups = 0;
      let steps = 0;
      const one = () => {
        const track = result.paths.length < N_PATHS ? [] : null;
        const { n, upper, late } = walk(track);
        if (track) result.paths.push(thin(track, t0, step));
        const side = upper ? result.upper : result.lower;
        const bin = Math.floor((n - 1) / Math.round(width / step));
        if (bin < bins) side[bin] += 1;
        ups += upper;
        steps += n;
        result.late += late;
        result.n += 1;
        return n;
      };
      const more = () => {
        for (let left = STEPS_A_FRAME; left > 0 && result.n < N_DECISIONS;) left -= one();
        result.p_upper = ups / result.n;
        result.mean = t0 + (steps / result.n) * step;
        return result.n < N_DECISIONS;
      };
      return { result, more, question: { end, width } };
    };

    const picture = (result, settings, width) => {
      const { alpha, beta, t0 } = settings;
      const end = axisEnd(settings);
      const x = eam.scale(0, end, 34, width - 8);
      const [top, middle, bottom] = [[6, 84], [96, 226], [238, 316]];
      const times = [...grid(0, t0, 4), ...grid(t0, end, Math.min(260, Math.round(width / 2)))];
      const exact = eam.ddm.densities(times, settings);
      const peak = 1.2 * Math.max(...exact.upper, ...exact.lower);
      const evidence = eam.scale(0, alpha, middle[1] - 4, middle[0] + 4);
      const inside = (v) => Math.min(Math.max(v, -0.02 * alpha), 1.02 * alpha);
      const p = eam.ddm.probability(settings);
      const side = (role, [from, to]) => {
        const y = role === "upper" ? eam.scale(0, peak, to, from) : eam.scale(0, peak, from, to);
        const height = (count) => Math.min(count / (result.n * result.width), peak);
        const line = times.map((t, i) => [x(t), y(exact[role][i])]);
        const words = `${role} bound, choice ${role === "upper" ? 1 : 0}`;
        return [
          eam.svg("path", { style: `fill:var(--eam-${role});fill-opacity:0.5`,
            d: eam.bars(result[role].map(height), result.first, result.width, x, y, y(0)) }),
          eam.svg("path", { class: "eam-truth", fill: "none", style: "stroke-width:1.4",
            d: eam.path(line) }),
          eam.svg("text", { x: width - 10, "text-anchor": "end",
            y: role === "upper" ? from + 12 : to - 4 }, words),
        ];
      };
      const bound = (role, v, dashes) => eam.svg("path", { class: `eam-${role}`,
        style: `stroke-width:${dashes ? 1 : 2.5};stroke-dasharray:${dashes ?? "none"}`,
        d: `M${x.range[0]} ${evidence(v)}H${x.range[1]}` });
      const inward = settings.bounds === "inward" ? shift * Math.sqrt(result.step) : 0;
      const paths = result.paths.map((path) => eam.svg("path", {
        class: path.at(-1)[1] > alpha / 2 ? "eam-upper" : "eam-lower",
        style: "stroke-width:0.8;stroke-dasharray:none;opacity:0.8",
        d: eam.path(path.filter(([t]) => t <= end).map(([t, v]) => [x(t), evidence(inside(v))])) }));
      const name = (v, text) => eam.svg("text", { class: "eam-title", x: 28, y: evidence(v) + 4,
        "text-anchor": "end" }, text);

      const mean = eam.ddm.meanTime(settings);
      const ms = (seconds) => `${eam.number(1000 * seconds, 0)} ms`;
      const gap = Math.round(1000 * (result.mean - mean));
      const off = gap === 0 ? "no difference"
        : `${ms(Math.abs(gap) / 1000)} too ${gap > 0 ? "slow" : "fast"}`;
      // What steps do to the mean is a question first.
      const told = settings.dt !== start.dt || settings.bounds !== start.bounds;
      const late = result.late ? ` Undecided after ${maxTime} s: ${eam.count(result.late)}.` : "";
      const shorter = result.step < settings.dt
        ? `, not of ${+(1000 * settings.dt).toFixed(2)} ms, with which the bounds would move too far` : "";
      const words = `${eam.count(result.n)} decisions in steps of ` +
        `${eam.number(1000 * result.step, result.step < 0.01 ? 1 : 0)} ms${shorter}. Upper choices: ` +
        `${eam.percent(result.p_upper)} (exact: ${eam.percent(p)}). Mean response time: ` +
        `${ms(result.mean)}${told ? ` (exact: ${ms(mean)}; ${off})` : ""}.${late}`;
      const label = `Evidence between two bounds, with histograms of the response times at each and ` +
        `the exact density as a line, for nu = ${eam.number(settings.nu, 2)}, alpha = ` +
        `${eam.number(alpha, 2)}, t0 = ${eam.number(t0, 2)} s, beta = ${eam.number(beta, 2)}` +
        `${inward ? ", bounds moved inward" : ""}. ${words}`;
      const svg = eam.svg("svg", { role: "img", "aria-label": label, width, height: 352,
        viewBox: `0 0 ${width} 352` },
      side("upper", top), side("lower", bottom),
      eam.svg("path", { style: "stroke:var(--eam-exact);stroke-dasharray:2 3",
        d: `M${x(0)} ${evidence(beta * alpha)}H${x(t0)}` }),
      paths, bound("upper", alpha), bound("lower", 0),
      inward ? [bound("upper", alpha - inward, "3 3"), bound("lower", inward, "3 3")] : "",
      eam.svg("text", { class: "eam-small", x: width - 10, y: top[0] + 28, "text-anchor": "end" },
        "bars: simulated, line: exact"),
      name(0, "0"), name(beta * alpha, "βα"), name(alpha, "α"),
      eam.axis(x, bottom[1] + 4, Math.max(4, Math.floor(width / 90))),
      eam.svg("text", { class: "eam-small", x: x(end / 2), y: 350, "text-anchor": "middle" },
        "time since the stimulus (s)"));
      return { svg, words };
    };

    const two = (v) => eam.number(v, 2);
    const controls = ({ slider, change, settings }) => [
      slider("nu", { label: "drift ν", format: two }).node,
      slider("alpha", { label: "boundary α", format: two }).node,
      slider("t0", { label: "non-decision time t₀", format: (v) => `${two(v)} s` }).node,
      slider("beta", { label: "start β", format: two }).node,
      slider("dt", { label: "step Δt", format: (v) => `${+(1000 * v).toFixed(2)} ms` }).node,
      eam.choice({ label: "bounds", name: "bounds", value: settings.bounds,
        options: { plain: "as they are", inward: "moved inward" } },
      (bounds) => change({ bounds })).node,
      eam.html("div", {}, eam.button("new noise", () => change({ seed: settings.seed + 1 }))),
    ];
    return eam.playground(el, page, model, { title: "One decision", controls, begin, picture,
      live: "Simulated by eamlab in Python:" });
  };
})();
