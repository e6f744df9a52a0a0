// needs: core playground reading
/* Does a study look like anything the model can produce? The check of predictive.py, in the page:
 * the same statistics, limits and words, on studies that an exact sampler (simulator.py) makes here.
 */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const { general, quantile } = eam.reading;
  const TOLERANCE = 0.01;
  const [DRAWS_LIMIT, PRIOR_LIMIT, FIT_LIMIT, OUTLIER_LIMIT] = [3.5, 4, 5, 3.75];
  const PRIOR_SUBJECTS = 25;
  const MOST_TRIALS = 12000;
  const FEWEST_TRIALS = 5;
  const LEAST_IQR = 1e-3;
  const [FAST, SLOW, MOST] = [0.5, 2, 10];
  const LEAST_DISTANCE = 0.8;
  const [LEAST_SPREAD, NOISE] = [0.02, 0.02];
  const [REACH, SHARED_REACH] = [10, 6];
  const QUANTILES = [0.023, 0.5, 0.977];
  const SIMULATED = ["eamlab.model.eam.simulate_decisions",
    "eamlab.model.conditions.simulate_conditions"];
  const CUT = 0.64;
  const SQUEEZE = 1 - 0.0059;

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const variance = (values) => {
    const m = mean(values);
    return mean(values.map((v) => (v - m) ** 2));
  };
  const sorted = (values) => Float64Array.from(values).sort();
  const median = (values) => quantile(sorted(values), 0.5);
  const clip = (x, low, high) => Math.min(high, Math.max(low, x));

  // ---------------------------------------------------------------------------- simulated decisions

  /** Complementary error function, to 1e-7 of its value (Press et al., Numerical Recipes). */
  const erfc = (x) => {
    const t = 1 / (1 + 0.5 * Math.abs(x));
    const poly = [0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806,
      0.09678418, 0.37409196, 1.00002368, -1.26551223].reduce((sum, c) => sum * t + c, 0);
    const tail = t * Math.exp(-x * x + poly);
    return x >= 0 ? tail : 2 - tail;
  };
  const phi = (x) => 0.5 * erfc(-x * Math.SQRT1_2);

  /** Relative starting points: the Beta(c, c) quantile of Phi(x), along its slope from x = 0. */
  const startOf = (concentration) => {
    const step = 0.01;
    const half = 2000;  // Simpson's rule for the constant
    const shape = (b) => (4 * b * (1 - b)) ** (concentration - 1);
    let area = 0;
    for (let i = 0; i <= half; i++) area += shape(i / half) * (i % half ? 2 + 2 * (i % 2) : 1);
    area /= 3 * half;
    const slope = (x, b) => (Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI)) * (area / shape(b));
    const table = [0.5];
    for (let i = 0; i < 800; i++) {
      const [x, b] = [i * step, table[i]];
      const k1 = slope(x, b);
      const k2 = slope(x + step / 2, b + (step / 2) * k1);
      const k3 = slope(x + step / 2, b + (step / 2) * k2);
      const k4 = slope(x + step, b + step * k3);
      table.push(Math.min(1 - 1e-9, b + (step / 6) * (k1 + 2 * k2 + 2 * k3 + k4)));
    }
    return (x) => {
      const at = Math.min(Math.abs(x) / step, table.length - 1.001);
      const low = Math.floor(at);
      const b = table[low] + (at - low) * (table[low + 1] - table[low]);
      return x < 0 ? 1 - b : b;
    };
  };

  const rightShare = (z) => {
    if (z > 20) return 0;
    const rate = Math.PI ** 2 / 8 + 0.5 * z * z;
    const right = ((0.5 * Math.PI) / rate) * Math.exp(z - rate * CUT);
    const root = Math.sqrt(CUT);
    const below = phi((z * CUT - 1) / root) + Math.exp(2 * z) * phi(-(z * CUT + 1) / root);
    return right / (right + 2 * below);
  };
  const accepts = (u, q) => {
    for (let total = 1, n = 1; ; n += 2) {
      total -= (2 * n + 1) * q ** (n * (n + 1));
      if (u <= total) return true;
      total += (2 * n + 3) * q ** ((n + 1) * (n + 2));
      if (u > total) return false;
    }
  };
  /** Exit of Brownian motion with drift z >= 0 from (-1, 1): times by `_exit_time`. */
  const exits = ({ uniform, normal }, z) => {
    const share = rightShare(z);
    const rate = Math.PI ** 2 / 8 + 0.5 * z * z;
    const exponential = () => -Math.log(1 - uniform());
    const left = () => {
      if (z * CUT < 1) {
        for (;;) {
          const e = exponential();
          if (e * e * CUT > 2 * exponential()) continue;
          const x = CUT / (1 + CUT * e) ** 2;
          if (2 * exponential() >= z * z * x) return x;
        }
      }
      for (;;) {
        const e = normal();
        const half = (0.5 / z) * e * e;
        let x = (1 / z) * (1 + half - Math.sqrt(half * (2 + half)));
        if (uniform() * (1 / z + x) > 1 / z) x = 1 / (z * z * x);
        if (x < CUT) return x;
      }
    };
    return () => {
      for (;;) {
        const right = uniform() < share;
        const x = right ? CUT + exponential() / rate : left();
        const u = uniform();
        if (u < SQUEEZE || accepts(u, Math.exp(right ? -0.5 * Math.PI ** 2 * x : -2 / x))) return x;
      }
    };
  };
  /** Trials [choice, time, ...] of a person, by exits from symmetric intervals: no steps. */
  const decisions = ({ nu, alpha, t0, beta }, n, random) => {
    const rounds = [];
    const roundAt = (y) => {
      const h = Math.min(y, alpha - y);
      const down = y <= alpha - y;
      return { h2: h * h, up: 1 / (1 + Math.exp(-2 * nu * h)), time: exits(random, Math.abs(nu) * h),
        down, top: alpha - y <= y, next: down ? 2 * y : 2 * y - alpha };
    };
    const out = new Float32Array(2 * n);
    for (let k = 0; k < n; k++) {
      let time = 0;
      for (let r = 0, y = beta * alpha; ; r++) {
        const round = r < 48 ? (rounds[r] ??= roundAt(y)) : roundAt(y);
        time += round.h2 * round.time();
        const up = random.uniform() < round.up;
        if (up ? round.top : round.down) { out[2 * k] = up ? 1 : 0; break; }
        y = round.next;
      }
      out[2 * k + 1] = t0 + time;
    }
    return out;
  };

  /** Simulates people of a network's model; null where the page does not know how it does. */
  const simulator = ({ model, names, means, sds }, kinds) => {
    if (!SIMULATED.includes(model.simulate) || !("beta_raw" in model.prior)) return null;
    const start = startOf(model.constants.beta_concentration);
    const at = (name) => names.indexOf(name);
    const ranges = kinds.map(({ mean: m, log_sd: s, positive }) => {
      const reach = REACH * (sds[at(m)] + Math.exp(means[at(s)] + 2 * sds[at(s)]));
      const ends = [means[at(m)] - reach, means[at(m)] + reach];
      return positive ? ends.map(Math.exp) : ends;
    });
    const beta = at("beta_raw");
    const person = (group, random) => {
      const raw = clip(group.beta_raw, means[beta] - SHARED_REACH * sds[beta],
        means[beta] + SHARED_REACH * sds[beta]);
      const own = { beta: start(raw) };
      kinds.forEach(({ name, mean: m, log_sd: s, positive }, k) => {
        const x = group[m] + Math.exp(group[s]) * random.normal();
        own[name] = clip(positive ? Math.exp(x) : x, ...ranges[k]);
      });
      return own;
    };
    /** A person's trials, in a condition of that code where the model has some. */
    const trials = (own, n, random, code = null) => decisions(code === null ? own : { ...own,
      nu: own.nu + code * own.nu_change,
      alpha: own.alpha * Math.exp(code * own.log_alpha_change) }, n, random);
    return { person, trials, start };
  };
  /** What differs between people, from the model's description. */
  const kindsOf = ({ model }) => Object.entries(model.people).map(([name, [m, s, positive]]) =>
    ({ name, mean: m, log_sd: s, positive }));

  // ----------------------------------------------------------------------------- what is compared

  const rint = (x) => {
    const low = Math.floor(x);
    return x - low === 0.5 ? low + (low % 2) : Math.round(x);
  };
  /** What each person of a study needs once. */
  const summarized = (people) => {
    const quartiles = people.map((trials) => {
      const n = trials.length / 2;
      const times = new Float64Array(n);
      for (let i = 0; i < n; i++) times[i] = trials[2 * i + 1];
      times.sort();
      return [0.25, 0.5, 0.75].map((q) => times[rint((n - 1) * q)]);
    });
    const iqr = quartiles.map(([low, , high]) => Math.max(high - low, LEAST_IQR));
    const share = people.map((trials) => {
      let sum = 0;
      for (let i = 0; i < trials.length; i += 2) sum += trials[i];
      return sum / (trials.length / 2);
    });
    return { people, quartiles, iqr, share, logMedian: quartiles.map((q) => Math.log(q[1])) };
  };
  const described = (people) => {
    const { quartiles, iqr, share, logMedian } = summarized(people);
    const typical = median(iqr);
    let speed = 0, fast = 0, slow = 0;
    people.forEach((trials, j) => {
      const n = trials.length / 2;
      const [first, middle, third] = quartiles[j];
      const scale = Math.sqrt(iqr[j] * typical);
      let zc = 0, z = 0, f = 0, s = 0;
      for (let i = 0; i < trials.length; i += 2) {
        const rt = trials[i + 1];
        const own = clip((rt - middle) / iqr[j], -2, 2);
        z += own;
        zc += own * trials[i];
        f += clip((first - rt) / scale - FAST, 0, MOST);
        s += clip((rt - third) / scale - SLOW, 0, MOST);
      }
      speed += 4 * (zc / n - (z / n) * share[j]);
      fast += f / n;
      slow += s / n;
    });
    const J = people.length;
    return [Math.exp(mean(logMedian)), Math.exp(mean(iqr.map(Math.log))),
      Math.sqrt(variance(logMedian)), mean(share), Math.sqrt(variance(share)),
      speed / J, fast / J, slow / J];
  };

  const logOf = (x) => Math.log(x + 0.01);
  const root = (x) => Math.sqrt(x + 0.003);
  const asIs = (x) => x;
  const DRAWS_FAIL = "The draws do not describe these data. Check the units (seconds) and the coding " +
    "of the choices; then suspect a population beyond the prior (widen it and train again) or a " +
    "failed sampler (more steps, larger groups).";
  const OUT_OF_PRIOR = "Networks are trained within the prior only. Check the units (seconds), rule " +
    "out contaminants, then widen the prior and train again.";
  const SPEED_FAILS = "In the model only the starting point makes one choice faster than the other. " +
    "Look for drift or starting points that vary from trial to trial, and for guesses.";
  const fit = (name, scale, meaning, high = DRAWS_FAIL, low = high, limit = FIT_LIMIT) =>
    ({ name, scale, meaning, high, low, limit });
  const STATISTICS = [
    fit("rt_median", Math.log, "The typical median response time of a person (s)"),
    fit("rt_within", Math.log, "The typical interquartile range of a person's response times (s)"),
    fit("rt_between", logOf, "The standard deviation over people of their log median response times"),
    fit("choice_share", asIs, "The share of upper choices"),
    fit("choice_between", logOf,
      "The standard deviation over people of their shares of upper choices"),
    fit("choice_speed", asIs,
      "By how much upper responses are slower than lower ones (interquartile ranges)", SPEED_FAILS),
    fit("fast_outliers", root, `How far responses fall below a fence ${FAST} interquartile ranges ` +
      "under a person's first quartile (mean over all responses, in such ranges)",
    "Look for fast guesses and anticipations, and leave them out or model them.",
    "Look for a lower cut-off that has removed fast responses.", OUTLIER_LIMIT),
    fit("slow_outliers", root, `How far responses rise above a fence ${SLOW} interquartile ranges ` +
      "over a person's third quartile (mean over all responses, in such ranges)",
    "Look for lapses of attention and other slow contaminants, and leave them out or model them.",
    "Look for a deadline or an upper cut-off that has removed slow responses.", OUTLIER_LIMIT),
  ];
  const FEATURES = [
    ["prior_rt_median", Math.exp, "The typical median response time of a person (s)"],
    ["prior_boundary", Math.exp,
      "The typical boundary separation of a person, guessed from times and choices"],
    ["prior_choice_share", (x) => 1 / (1 + Math.exp(-x)),
      "The typical share of upper choices of a person"],
    ["prior_rt_between", (x) => Math.exp(x) - 0.01,
      "The standard deviation over people of their log median response times"],
  ];

  /** Mean and squared standard error of each feature of a study: [[...], [...]]. */
  const featured = (people) => {
    const { iqr, share, logMedian } = summarized(people);
    const logit = share.map((p, j) => {
      const n = people[j].length / 2;
      const q = (p * n + 0.5) / (n + 1);
      return Math.log(q / (1 - q));
    });
    const mixed = share.map((p) => p > 0 && p < 1);
    const boundary = logit.map((x, j) => {
      const y = Math.max(Math.abs(x), 0.05);
      const e = Math.exp(-y);
      const spread = (1 - 2 * y * e - e * e) / (2 * y ** 3 * (1 + e) ** 2);
      return 0.5 * Math.log(iqr[j] / 1.1) - 0.25 * Math.log(spread);
    }).filter((_, j) => mixed[j] || !mixed.includes(true));
    const columns = [logMedian, boundary, logit, [logOf(Math.sqrt(variance(logMedian)))]];
    return [columns.map(mean), columns.map((v) => (variance(v) + NOISE) / v.length)];
  };

  const zOf = (seen, low, middle, high) =>
    (seen - middle) / Math.max((seen > middle ? high - middle : middle - low) / 2, TOLERANCE);
  const comparison = (name, observed, expected, interval, z, limit, meaning, advice) => {
    const unusual = !(Math.abs(z) <= limit);
    const sign = z < 0 ? "-" : "+";
    const message = `${name}: ${meaning} is ${general(observed, 3)}; the model expects ` +
      `${general(interval[0], 3)} to ${general(interval[1], 3)} (z = ${sign}${Math.abs(z).toFixed(1)}). ` +
      advice;
    return { name, observed, expected, interval, z, limit, meaning, unusual, message };
  };

  /** Compare the means of draws {name: values} with the prior. */
  const drawsAndPrior = ({ names, means, sds, words }, values) => names.map((name, k) => {
    const [m, sd] = [mean(values[name]), Math.sqrt(variance(values[name]))];
    const narrowed = 1 - Math.min(sd / sds[k], 1) ** 2;
    const reach = sds[k] * Math.max(Math.sqrt(narrowed), LEAST_DISTANCE);
    return comparison(name, m, means[k], [means[k] - 2 * reach, means[k] + 2 * reach],
      (m - means[k]) / reach, DRAWS_LIMIT, `The posterior mean of the ${words[name].meaning}`,
      OUT_OF_PRIOR);
  });
  const dataAndPrior = ([seen, error2], simulated) => FEATURES.map(([name, natural, meaning], i) => {
    const centre = median(simulated.map(([m]) => m[i]));
    const between2 = median(simulated.map(([m]) => (m[i] - centre) ** 2)) / 0.455 -
      median(simulated.map(([, e]) => e[i]));
    const sdOf = (error) => Math.sqrt(Math.max(between2, LEAST_SPREAD ** 2) + error);
    const own = sdOf(error2[i]);
    const others = sorted(simulated.map(([m, e]) => (m[i] - centre) / sdOf(e[i])));
    const limits = QUANTILES.map((q) => quantile(others, q));
    const [low, middle, high] = limits.map((v) => natural(centre + own * v));
    return comparison(name, natural(seen[i]), middle, [low, high],
      zOf((seen[i] - centre) / own, ...limits), PRIOR_LIMIT, meaning, OUT_OF_PRIOR);
  });
  const dataAndDraws = (seen, simulated) => STATISTICS.map((s, i) => {
    const values = sorted(simulated.map((one) => one[i]));
    const [low, middle, high] = QUANTILES.map((q) => quantile(values, q));
    const z = zOf(...[seen[i], low, middle, high].map(s.scale));
    return comparison(s.name, seen[i], middle, [low, high], z, s.limit, s.meaning,
      z > 0 ? s.high : s.low);
  });

  // ------------------------------------------------------------------------------------ the check

  const groupsOf = (names, values, n) => {
    const count = values[names[0]].length;
    return Array.from({ length: n }, (_, i) => {
      const s = rint((i * (count - 1)) / (n - 1));
      return Object.fromEntries(names.map((name) => [name, values[name][s]]));
    });
  };
  /** A study for each group, with trials per person as the data have, of one condition. */
  function* simulated(simulate, groups, { counts, code }, most, random, describe, from, to) {
    const n = Math.min(counts.length, most);
    const found = [];
    const order = counts.slice();
    for (const [i, group] of groups.entries()) {
      const people = [];
      for (let j = 0; j < n; j++) {
        const k = j + Math.floor(random.uniform() * (order.length - j));
        [order[j], order[k]] = [order[k], order[j]];
        people.push(simulate.trials(simulate.person(group, random), order[j], random, code));
        if (j % 8 === 7) yield { share: from + ((to - from) * (i + j / n)) / groups.length };
      }
      found.push(describe(people));
      yield { share: from + ((to - from) * (i + 1)) / groups.length };
    }
    return found;
  }

  /** The part of a study under each of its model's conditions: [{people, code, suffix}]. */
  const partsOf = ({ model: { conditions } }, study, { codes, labels }) => (!conditions
    ? [{ people: study, code: null, suffix: "" }]
    : conditions.map((code, c) => ({ code, suffix: ` (${labels[c]})`, label: labels[c],
      people: study.map((trials, j) => trials.filter((_, i) => codes[j][i >> 1] === code)) })));

  /**
   * Compare a study (people's trials) and draws of the group with the prior, and with each other:
   * {comparisons, messages}. With conditions, `under` has their codes, by person, and labels.
   */
  function* check(network, values, study,
    { draws = 200, maxSubjects = 200, seed = 0, under = {} } = {}) {
    const simulate = simulator(network, kindsOf(network));
    const notes = new Set();
    const comparisons = drawsAndPrior(network, values);
    const { uniform } = eam.random(seed);
    const random = { uniform, normal: eam.normals(uniform) };
    const parts = partsOf(network, study, under);
    for (const [p, { people, code, suffix, label }] of parts.entries()) {
      const data = people.filter((trials) => trials.length >= 2 * FEWEST_TRIALS);
      if (!simulate) {
        notes.add(`This page cannot simulate the model ${network.model.name}; only the draws were ` +
          "compared with the prior.");
      } else if (!data.length) {
        const [where, left] = code === null ? ["", "only the draws were compared with the prior"]
          : [` under '${label}'`, "that condition was left out"];
        notes.add(`Nobody has ${FEWEST_TRIALS} trials${where}, which the comparison of data and ` +
          `predictions needs; ${left}.`);
      }
      if (!simulate || !data.length) continue;
      const counts = data.map((trials) => trials.length / 2);
      const largest = counts.reduce((a, b) => Math.max(a, b));
      const most = Math.min(maxSubjects, Math.max(PRIOR_SUBJECTS, Math.floor(MOST_TRIALS / largest)));
      const few = Math.min(maxSubjects, PRIOR_SUBJECTS);
      const { names, means, sds } = network;
      const prior = Array.from({ length: 2 * draws }, () => Object.fromEntries(
        names.map((name, k) => [name, means[k] + sds[k] * random.normal()])));
      const share = (x) => (p + x) / parts.length;
      const [zero, cut, one] = [0, 0.6, 1].map(share);
      const given = { counts, code };
      const expected = yield* simulated(simulate, prior, given, few, random, featured, zero, cut);
      const chosen = groupsOf(names, values, draws);
      const predicted = yield* simulated(simulate, chosen, given, most, random, described, cut, one);
      comparisons.push(...[...dataAndPrior(featured(data), expected),
        ...dataAndDraws(described(data), predicted)].map((c) => ({ ...c, name: c.name + suffix,
        message: c.name + suffix + c.message.slice(c.name.length) })));
    }
    const unusual = comparisons.filter((c) => c.unusual);
    return { comparisons, messages: [...unusual.map((c) => c.message), ...notes] };
  }

  /** Who has more or fewer trials than anybody in the network's training, as compose says it. */
  const extrapolation = ({ trials_seen: [low, high] }, study) => {
    const n = study.map((trials) => trials.length / 2).filter((k) => k < low || k > high);
    if (!n.length) return [];
    const [least, most] = n.reduce(([a, b], k) => [Math.min(a, k), Math.max(b, k)], [Infinity, 0]);
    return [`${n.length} of ${study.length} subjects have ${least} to ${most} trials, and it was ` +
      `trained on ${low} to ${high}.`];
  };
  /** What compose warns of, or an empty text. */
  const warning = (network, study, { messages }) => {
    const unusual = [...extrapolation(network, study), ...messages];
    return unusual.length ? "the data are unlike what the network was trained on; do not trust the " +
      `draws before you know why. ${unusual.join(" ")}` : "";
  };

  eam.check = { check, warning, extrapolation, simulator, kindsOf, described, featured, drawsAndPrior,
    dataAndPrior, dataAndDraws };
})();
