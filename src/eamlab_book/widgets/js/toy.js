// needs: core playground
/* The Gaussian toy (as in toy.py): reverse diffusion with composed scores, beside the exact answer. */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const N_PARTICLES = 500;
  const WORK_A_FRAME = 600000;
  const DIVERGED = 1000;  // exact sds
  const ENOUGH = 20;  // draws to judge by
  const N_BINS = 80;
  const AXES = [5, 8, 12, 20];  // half widths, in exact sds

  eam.toy = {
    /** Mean and sd of the posterior given observations y_j ~ N(theta, s^2) of theta ~ N(0, 1). */
    posterior: (y, noiseSd) => {
      const precision = 1 + y.length / noiseSd ** 2;
      return { mean: y.reduce((a, b) => a + b, 0) / noiseSd ** 2 / precision, sd: precision ** -0.5 };
    },

    /**
     * Steps of the reverse diffusion, x <- keep x + pull m + heat z, with z ~ N(0, 1) and m the mean
     * of the mini-batch or, for the exact score, of the exact posterior.
     */
    steps: (y, { noiseSd, ends, score, solver, d0, d1, steps }) => {
      const count = y.length;
      const exact = eam.toy.posterior(y, noiseSd);
      const single = noiseSd ** 2 / (1 + noiseSd ** 2);  // variance of a posterior given one y
      return Array.from({ length: steps }, (_, k) => {
        const t = ends[1] + ((ends[0] - ends[1]) * k) / steps;
        const alpha = Math.cos(0.5 * Math.PI * t);
        const sigma = Math.sin(0.5 * Math.PI * t);
        const noise = ((Math.PI * sigma) / alpha) * ((ends[1] - ends[0]) / steps);
        const damp = d0 ** (1 - t) * d1 ** t;
        const variance = alpha ** 2 * single + sigma ** 2;
        const weight = score === "weighted" ? 1 - t : 1;
        const whole = (alpha * exact.sd) ** 2 + sigma ** 2;
        const slope = score === "exact" ? -1 / whole : -count / variance + (count - 1) * weight;
        const shift = score === "exact" ? alpha / whole
          : (count * alpha) / variance / (1 + noiseSd ** 2);
        const half = solver === "sde" ? 1 : 0.5;
        return { keep: 1 + noise * (0.5 + half * damp * slope), pull: noise * half * damp * shift,
          heat: solver === "sde" ? Math.sqrt(noise) : 0 };
      });
    },

    /** Returns `draw()`, one particle; every step has a random mini-batch of its own. */
    sampler: (y, size, options) => {
      const plan = eam.toy.steps(y, options);
      const { uniform } = eam.random(options.seed);
      const normal = eam.normals(uniform);
      const count = y.length;
      const full = options.score === "exact" || size >= count;
      const pool = Float64Array.from(y);
      const mean = options.score === "exact" ? eam.toy.posterior(y, options.noiseSd).mean
        : y.reduce((a, b) => a + b, 0) / count;
      const batch = () => {  // the first cards of a deck that is shuffled further every time
        let sum = 0;
        for (let i = 0; i < size; i++) {
          const j = i + Math.floor(uniform() * (count - i));
          const card = pool[j];
          pool[j] = pool[i];
          pool[i] = card;
          sum += card;
        }
        return sum / size;
      };
      return () => {
        let x = normal();
        for (const { keep, pull, heat } of plan) {
          x = keep * x + pull * (full ? mean : batch());
          if (heat) x += heat * normal();
        }
        return x;
      };
    },
  };

  const summary = (particles, exact) => {
    const n = particles.length;
    const good = particles.filter((x) => x !== null && Number.isFinite(x));
    const mean = good.reduce((a, b) => a + b / good.length, 0);
    const sd = Math.sqrt(good.reduce((a, b) => a + (b - mean) ** 2 / good.length, 0));
    const far = Math.max(0, ...good.map((x) => Math.abs(x - exact.mean))) / exact.sd;
    return { n, good, far, bias: (mean - exact.mean) / exact.sd, ratio: sd / exact.sd,
      few: n < ENOUGH, diverged: good.length < n || !(far < DIVERGED) };
  };

  eam.widgets.toy = (el, page, model) => {
    const { noise_sd: noiseSd, ends, truth, all } = page.data;
    const everyY = Array.from(eam.decode(page.data.y), (v) => v * page.data.unit);

    const begin = (settings) => {
      const y = everyY.slice(0, settings.J);
      const size = Math.min(settings.mini_batch, settings.J);
      const draw = eam.toy.sampler(y, size, { ...settings, noiseSd, ends });
      const partial = settings.score !== "exact" && size < settings.J;
      const work = settings.steps * (partial ? 1 + size : 1);
      const result = { particles: [] };
      const more = () => {
        for (let left = WORK_A_FRAME; left > 0 && result.particles.length < N_PARTICLES; left -= work) {
          result.particles.push(draw());
        }
        return result.particles.length < N_PARTICLES;
      };
      return { result, more };
    };

    const verdict = ({ n, good, far, bias, ratio, few, diverged }) => {
      if (few && !diverged) return "More are coming.";
      if (!diverged) {
        return `Bias: ${eam.number(bias, 2)} exact sds. Width: ${eam.number(ratio, 2)} times the exact.`;
      }
      const reach = good.length < n ? `${eam.count(n - good.length)} draws are beyond all numbers`
        : `draws lie up to ${far.toExponential(0).replace("e+", " × 10^")} exact sds away`;
      return `The sampler diverged: ${reach}. Try more steps, or another d1.`;
    };

    const picture = ({ particles }, settings, width) => {
      const exact = eam.toy.posterior(everyY.slice(0, settings.J), noiseSd);
      const facts = summary(particles, exact);
      const sorted = facts.good.map((v) => Math.abs(v - exact.mean) / exact.sd).sort((a, b) => a - b);
      const reach = sorted[Math.floor(0.98 * sorted.length)] ?? 0;
      const half = (facts.diverged ? AXES[0] : AXES.find((a) => a > reach) ?? AXES.at(-1)) * exact.sd;
      const [low, high] = [exact.mean - half, exact.mean + half];
      const x = eam.scale(low, high, 8, width - 8);
      const [top, base] = [40, 220];
      const y = eam.scale(0, 2.2, base, top);  // in units of the exact density's peak
      const places = Array.from({ length: 161 }, (_, i) => low + (i * (high - low)) / 160);
      const curve = places.map((v) => [x(v), y(Math.exp(-0.5 * ((v - exact.mean) / exact.sd) ** 2))]);
      const bin = (high - low) / N_BINS;
      const heights = new Array(N_BINS).fill(0);
      const unit = (exact.sd * Math.sqrt(2 * Math.PI)) / (facts.n * bin);
      let outside = facts.n - facts.good.length;
      for (const v of facts.good) {
        const i = Math.floor((v - low) / bin);
        if (i >= 0 && i < N_BINS) heights[i] += unit; else outside += 1;
      }
      const cut = heights.some((h) => h > 2.2);
      const bars = eam.bars(heights.map((h) => Math.min(h, 2.2)), low, bin, x, y, base);
      const words = `${eam.count(facts.n)} draws with ${eam.count(settings.steps)} steps. ` +
        verdict(facts) + (outside ? ` Not on the axis: ${eam.count(outside)}.` : "") +
        (cut ? " Cut off at the top." : "");
      const batch = settings.mini_batch >= settings.J ? "all" : eam.count(settings.mini_batch);
      const label = `Histogram of composed draws on the exact posterior in gray, ` +
        `${eam.number(exact.mean, 3)} ± ${eam.number(exact.sd, 3)}, with the truth ` +
        `${eam.number(truth, 1)} as a tick; J = ${eam.count(settings.J)}, d0 = ${settings.d0}, ` +
        `d1 = ${settings.d1}, mini-batch ${batch}, score: ${settings.score}, ` +
        `${settings.solver.toUpperCase()}. ${words}`;
      const note = (text, line, role) => eam.svg("text", { x: width - 10, y: 14 + 16 * line,
        "text-anchor": "end", style: role ? `fill:var(--eam-${role})` : null }, text);
      const notes = facts.few && !facts.diverged ? [] : facts.diverged ? [note("diverged", 0, "accent")]
        : [note(`bias ${eam.number(facts.bias, 2)} exact sds`, 0),
          note(`width ${eam.number(facts.ratio, 2)} × exact`, 1)];
      const svg = eam.svg("svg", { role: "img", "aria-label": label, width, height: 262,
        viewBox: `0 0 ${width} 262` },
      eam.svg("path", { class: "eam-exact", d: `${eam.path(curve)}L${x(high)} ${base}L${x(low)} ${base}Z` }),
      eam.svg("path", { style: "fill:var(--eam-composed);fill-opacity:0.35;stroke:var(--eam-composed)",
        d: bars }),
      truth > low && truth < high
        ? eam.svg("path", { class: "eam-truth", d: `M${x(truth)} ${base + 2}V${base - 22}` }) : "",
      eam.axis(x, base + 4, Math.max(3, Math.floor(width / 110))),
      notes,
      eam.svg("text", { x: 10, y: 14 }, `J = ${eam.count(settings.J)}`),
      eam.svg("text", { class: "eam-title", x: width / 2, y: 256, "text-anchor": "middle" }, "θ"));
      return { svg, words };
    };

    const controls = ({ slider, change, settings }) => {
      const choice = (name, label, options) => eam.choice({ name, label, options,
        value: settings[name] }, (value) => change({ [name]: value })).node;
      return [
        slider("J", { label: "observations J", format: eam.count }).node,
        slider("mini_batch", { label: "mini-batch", format: (v) => v >= all ? "all" : eam.count(v) }).node,
        slider("steps", { label: "steps", format: eam.count }).node,
        slider("d0", { label: ["bridge d", eam.html("sub", {}, "0")], note: "at the data end" }).node,
        slider("d1", { label: ["bridge d", eam.html("sub", {}, "1")], note: "at the noise end" }).node,
        choice("score", "score", { diffused: "sum, diffused prior", weighted: "sum, (1 − t) prior",
          exact: "exact" }),
        choice("solver", "solver", { sde: "SDE", ode: "ODE" }),
        eam.html("div", {}, eam.button("new noise", () => change({ seed: settings.seed + 1 }))),
      ];
    };
    return eam.playground(el, page, model, { title: "The Gaussian toy", controls, begin, picture,
      live: "Sampled by eamlab_book.toy in Python:" });
  };
})();
