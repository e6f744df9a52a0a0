// needs: core
/* The trained networks in the page: summaries, composition and people's parameters (as in
 * networks.py, hierarchical.py, gaussian.py, summed.py and individuals.py), on the weights of
 * network_file.py.
 *
 * A study is an array of people, a person an array [choice, time, choice, time, ...], or with the
 * code of its condition behind each time where the model has conditions. What takes time is a
 * generator that yields after every millisecond or so of work and returns its result;
 * `engine.run` lets it run without holding up the page. Matrices stand in fours of rows, column by
 * column, so that a weight that was fetched serves four rows; columns are even in number.
 */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const ROWS = 64;  // that pass a network at once
  const DRAWS = 32;  // that are made together, and shown as soon as they are there
  const SLICE_MS = 12;
  const SHORTEST_RT = 1e-3;
  const SLOWEST_RT = 20;
  const LATEST = 4;  // log of the fastest response in a condition that a person never did
  const LEAST_OF_TRIALS = 1e-4;
  const LOG_SCALE = [-4, 7];  // of the factor of a person's precision
  const PASSES = 3;  // population given people given population
  const LOG_SNR = [-4, 11];  // first and last noise level of the Gaussian composition
  const CLIP = 3;  // bound of the summed score's denoised parameters, in prior sds

  // ------------------------------------------------------------------------------------ matrices

  const even = (n) => n + (n & 1);
  const fours = (n) => (n + 3) & ~3;
  const matrix = (rows, columns) => new Float32Array(fours(rows) * even(columns));
  const place = (r, width) => (r & ~3) * width + (r & 3);  // of a row's first; the next is 4 on

  // silu to 1e-7: a parabola around each of the points that divide [-REACH, REACH].
  const REACH = 20;
  const PER_UNIT = 64;
  const PARABOLAS = new Float32Array(3 * (2 * REACH * PER_UNIT + 1));
  for (let i = 0; i < PARABOLAS.length; i += 3) {
    const x = i / 3 / PER_UNIT - REACH;
    const s = 1 / (1 + Math.exp(-x));
    const slope = s * (1 - s);
    PARABOLAS.set([x * s, s + x * slope, slope * (1 + x * (0.5 - s))], i);
  }
  const silu = (x) => {
    if (x >= REACH) return x;
    if (x <= -REACH) return 0;
    const i = ((x + REACH) * PER_UNIT + 0.5) | 0;
    const d = x + REACH - i / PER_UNIT;
    return PARABOLAS[3 * i] + d * (PARABOLAS[3 * i + 1] + d * PARABOLAS[3 * i + 2]);
  };
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  const activate = (values, from, to) => {  // one call, so that it becomes part of the loop
    for (let i = from; i < to; i++) values[i] = silu(values[i]);
  };
  /** Add x W to `out`, then apply the layer's activation: where the time goes. */
  const multiply = (x, rows, { kernel, inputs, units, active }, out) => {
    for (let r = 0; r < rows; r += 4) {
      for (let n = 0, p = 0; n < units; n += 2) {
        const o = r * units + 4 * n;
        let a0 = out[o], a1 = out[o + 1], a2 = out[o + 2], a3 = out[o + 3];
        let b0 = out[o + 4], b1 = out[o + 5], b2 = out[o + 6], b3 = out[o + 7];
        for (let i = r * inputs, end = i + 4 * inputs; i < end; i += 4, p += 2) {
          const v = kernel[p], w = kernel[p + 1];
          const x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
          a0 += x0 * v; b0 += x0 * w;
          a1 += x1 * v; b1 += x1 * w;
          a2 += x2 * v; b2 += x2 * w;
          a3 += x3 * v; b3 += x3 * w;
        }
        out[o] = a0; out[o + 1] = a1; out[o + 2] = a2; out[o + 3] = a3;
        out[o + 4] = b0; out[o + 5] = b1; out[o + 6] = b2; out[o + 7] = b3;
      }
      if (active) activate(out, r * units, (r + 4) * units);
    }
    return out;
  };
  /** Write a vector into every row. */
  const fill = (out, rows, vector) => {
    for (let r = 0, i = 0; r < rows; r += 4) {
      for (let k = 0; k < vector.length; k++, i += 4) {
        out[i] = out[i + 1] = out[i + 2] = out[i + 3] = vector[k];
      }
    }
    return out;
  };
  const dense = (x, rows, layer, out = matrix(rows, layer.units)) =>
    multiply(x, rows, layer, fill(out, rows, layer.bias));
  const chain = (x, rows, layers) => layers.reduce((h, layer) => dense(h, rows, layer), x);

  /** Layer normalization of h, over what it is given as `gamma` and `beta`. */
  const normalize = (h, rows, { gamma, beta, epsilon }) => {
    const width = gamma.length;
    for (let r = 0; r < rows; r++) {
      const start = place(r, width);
      const end = start + 4 * width;
      let mean = 0, square = 0;
      for (let i = start; i < end; i += 4) { mean += h[i]; square += h[i] * h[i]; }
      mean /= width;
      const scale = 1 / Math.sqrt(square / width - mean * mean + epsilon);
      for (let i = start, k = 0; i < end; i += 4, k++) {
        h[i] = (h[i] - mean) * scale * gamma[k] + beta[k];
      }
    }
    return h;
  };

  // Small symmetric matrices (d, d), row by row; the factor is lower triangular.
  /** Factor of a, its diagonal raised. */
  const cholesky = (a, d, raise = 0) => {
    const factor = new Float64Array(d * d);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) {
        let sum = a[i * d + j] + (i === j ? raise : 0);
        for (let k = 0; k < j; k++) sum -= factor[i * d + k] * factor[j * d + k];
        factor[i * d + j] = i === j ? Math.sqrt(sum) : sum / factor[j * d + j];
      }
    }
    return factor;
  };
  const solveLower = (factor, b) => {
    const d = b.length;
    for (let i = 0; i < d; i++) {
      for (let k = 0; k < i; k++) b[i] -= factor[i * d + k] * b[k];
      b[i] /= factor[i * d + i];
    }
    return b;
  };
  const solveUpper = (factor, b) => {  // of the factor's transpose
    const d = b.length;
    for (let i = d - 1; i >= 0; i--) {
      for (let k = i + 1; k < d; k++) b[i] -= factor[k * d + i] * b[k];
      b[i] /= factor[i * d + i];
    }
    return b;
  };
  const inverse = (a, d) => {
    const factor = cholesky(a, d);
    const out = new Float64Array(d * d);
    for (let i = 0; i < d; i++) {
      out[i * d + i] = 1;
      const row = out.subarray(i * d, (i + 1) * d);
      solveUpper(factor, solveLower(factor, row));
    }
    return out;
  };
  /** Product of matrices (n, m) and (m, k). */
  const product = (a, b, n, m, k) => {
    const out = new Float64Array(n * k);
    for (let i = 0; i < n; i++) {
      for (let l = 0; l < m; l++) {
        for (let j = 0; j < k; j++) out[i * k + j] += a[i * m + l] * b[l * k + j];
      }
    }
    return out;
  };
  /** Rows and columns of a symmetric matrix (d, d). */
  const block = (a, d, [top, bottom], [left, right]) => {
    const width = right - left;
    return Float64Array.from({ length: (bottom - top) * width }, (_, i) =>
      a[(top + Math.floor(i / width)) * d + left + (i % width)]);
  };

  // ------------------------------------------------------------------------------------- weights

  /** The weights of a file, in place of where they stand in it. */
  const unpacked = (node, weights) => {
    if (node === null || typeof node !== "object") return node;
    if (Array.isArray(node)) return node.map((part) => unpacked(part, weights));
    if (node.shape) {
      const { start = 0, scale = 1, values = weights } = node;
      const out = new Float32Array(node.shape.reduce((a, b) => a * b, 1));
      for (let i = 0; i < out.length; i++) out[i] = scale * values[start + i];
      return Object.assign(out, { columns: node.shape.at(-1) });
    }
    const parts = Object.entries(node).map(([key, part]) => [key, unpacked(part, weights)]);
    const read = Object.fromEntries(parts);
    return node.kernel ? layer(read) : read;
  };
  /** A dense layer with its columns in pairs, and both dimensions even. */
  const layer = ({ kernel, bias = [], activation }) => {
    if (activation !== "silu" && activation !== "linear") {
      throw new Error(`The engine knows silu and linear layers, not ${activation}.`);
    }
    const { columns } = kernel;
    const inputs = even(kernel.length / columns);
    const units = even(columns);
    const pairs = new Float32Array(inputs * units);
    for (let i = 0; i < kernel.length; i++) {
      const n = i % columns;
      pairs[(n - (n & 1)) * inputs + 2 * Math.floor(i / columns) + (n & 1)] = kernel[i];
    }
    const padded = new Float32Array(units);
    padded.set(bias);
    return { kernel: pairs, bias: padded, inputs, units, columns, active: activation === "silu" };
  };

  /** Read a network's file. */
  const load = ({ weights, model, ...rest }) => {
    const network = unpacked(rest, eam.decode(weights));
    const { columns: dim } = network.projector;
    const width = network.subnet.x.columns;
    return { ...network, model, dim, room: [matrix(ROWS, width), matrix(ROWS, width)],
      inputs: matrix(ROWS, 2 * dim), rest: matrix(ROWS, dim),
      scales: new Float64Array(ROWS * dim) };
  };

  // ----------------------------------------------------------------------------------- summaries

  /** Trials [choice, time] or [choice, time, code] of a person, without missing ones. */
  const trialsOf = ({ model: { conditions: codes = [] } }, person, j) => {
    const width = codes.length ? 3 : 2;
    const trials = Array.from({ length: Math.ceil(person.length / width) },
      (_, i) => Array.from({ length: width }, (_, k) => person[width * i + k]));
    const good = trials.every(([choice, rt, code]) => (choice === 0 || choice === 1) &&
      rt >= 0 && rt < Infinity && (rt === 0 || !codes.length || codes.includes(code)));
    const there = trials.filter(([, rt]) => rt > 0);
    if (!good || !there.length) {
      throw new Error(`Person ${j + 1} needs trials: choices of 0 or 1, with times in seconds` +
        (codes.length ? `, and conditions of ${codes.join(" or ")}.` : "."));
    }
    return there;
  };
  const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
  /** The fastest response of either kind. */
  const fastestResponses = (trials) => [0, 1].map((kind) => 0.5 + Math.log(
    least(trials.map(([choice, rt]) => Math.max(rt, SHORTEST_RT) + (choice === kind ? 0 : SLOWEST_RT)))));
  const logSize = (n) => 0.3 * Math.log(n);
  const inFours = (rows) => {
    const width = even(rows[0].length);
    const out = matrix(rows.length, width);
    rows.forEach((row, r) => {
      for (let k = 0, i = place(r, width); k < row.length; k++, i += 4) out[i] = row[k];
    });
    return out;
  };
  const inRows = (values, rows, { units, columns }) => Array.from({ length: rows }, (_, r) => {
    const start = place(r, units);
    return Float32Array.from({ length: columns }, (_, k) => values[start + 4 * k]);
  });

  /** What a chain of layers makes of vectors, and of what any number of them are turned into. */
  const atOnce = (vectors, layers) => inRows(
    chain(inFours(vectors), vectors.length, layers), vectors.length, layers.at(-1));
  function* through(vectors, layers, of = (v) => v) {
    const out = [];
    for (let i = 0; i < vectors.length; i += ROWS) {
      out.push(...atOnce(vectors.slice(i, i + ROWS).map((v, k) => of(v, i + k)), layers));
      yield { share: Math.min(1, (i + ROWS) / vectors.length) };
    }
    return out;
  }

  /** Mean of some rows of a layer's values, zero if there are none. */
  const meanOf = (h, some, { units, columns }) => {
    const sum = new Float64Array(columns);
    for (const r of some) {
      for (let k = 0, i = place(r, units); k < columns; k++, i += 4) sum[k] += h[i];
    }
    return sum.map((v) => v / Math.max(some.length, 1));
  };

  const logTime = (rt) => Math.log(Math.max(rt, SHORTEST_RT)) + 0.5;
  /** Mean, log sd and log number of some values. */
  const moments = (values) => {
    const mean = (x) => x.reduce((a, b) => a + b, 0) / Math.max(x.length, 1);
    const center = mean(values);
    const variance = mean(values.map((v) => (v - center) ** 2));
    return [center, 0.5 * Math.log(variance + LEAST_OF_TRIALS), logSize(values.length + 0.1)];
  };

  const sinceFastest = (since) => 0.7 * Math.log(since + 0.05) + 0.7;
  /** What a time is on the scale of the person whose trials these are. */
  const ownScaleOf = (trials, fastest) => {
    const [center, logSd] = moments(trials.map(([, rt]) => logTime(rt)));
    const unit = trials.reduce((sum, [, rt]) => sum + rt - fastest, 0) / trials.length + 0.01;
    return (rt) => [(logTime(rt) - center) / Math.exp(logSd), sinceFastest((rt - fastest) / unit)];
  };
  const trialFeatures = (trials, ownScale) => {
    const fastest = least(trials.map(([, rt]) => rt));
    const own = ownScale ? ownScaleOf(trials, fastest) : () => [];
    return trials.map(([choice, rt]) => {
      const sign = 2 * choice - 1;
      const both = (scales) => [...scales, ...scales.map((x) => sign * x)];
      const scales = [logTime(rt), 4 / (1 + Math.max(rt, SHORTEST_RT)) - 2.5, sinceFastest(rt - fastest)];
      return [sign, ...both(scales), ...both(own(rt))];
    });
  };

  /** One vector per person, of the trials of each condition (as PersonSummary in hierarchical.py):
   * the second time units are looked at that the first look has moved and stretched. */
  function* embedded(network, people) {
    const { model: { conditions: codes = [] }, trials: first, guess, adjust, second } = network;
    const found = [];
    for (let from = 0; from < people.length; from += ROWS) {
      const some = [];
      const done = (j) => ({ share: (from + j) / people.length });
      for (const person of people.slice(from, from + ROWS)) {
        const trials = trialsOf(network, person, from + some.length);
        const all = [...trials.keys()];
        const parts = codes.length ? codes.map((c) => all.filter((r) => trials[r][2] === c)) : [all];
        const features = inFours(trialFeatures(trials, network.own_scale));
        const h = chain(features, trials.length, first);
        const told = parts.flatMap((part) => [...meanOf(h, part, first.at(-1)),
          ...fastestResponses(part.map((r) => trials[r])).map((v) => Math.min(v, LATEST)),
          ...[part, ...[0, 1].map((choice) => part.filter((r) => trials[r][0] === choice))]
            .flatMap((kind) => moments(kind.map((r) => logTime(trials[r][1]))))]);
        some.push({ trials, parts, features, told });
        yield done(some.length / 2);
      }
      const guesses = atOnce(some.map(({ told }) => told), guess);
      const adjusted = atOnce(guesses, [adjust]);
      for (const [j, { trials, parts, features, told }] of some.entries()) {
        const h = dense(features, trials.length, second);
        const { units, columns } = second;
        const at = (r, k) => adjusted[j][k] +
          (codes.length ? trials[r][2] * adjusted[j][2 * columns + k] : 0);
        for (let r = 0; r < trials.length; r++) {
          for (let k = 0, i = place(r, units); k < columns; k++, i += 4) {
            h[i] = silu(h[i] * (1 + at(r, k)) + at(r, columns + k));
          }
        }
        told.push(...guesses[j], ...parts.flatMap((part) => [...meanOf(h, part, second)]));
        yield done((some.length + j + 1) / 2);
      }
      const wide = atOnce(some.map(({ told }) => told), network.subject);
      found.push(...some.map(({ told }, j) => [...wide[j], ...told]));
    }
    return found;
  }

  /** Summaries of people, for a local network. */
  function* summarizePeople(network, people) {
    return yield* through(yield* embedded(network, people), [network.summary]);
  }

  /** Sizes of the fewest, nearly equal groups that the network was trained for. */
  const groupSizes = ({ group_sizes: [least, most] }, count) => {
    const groups = Math.ceil(count / most);
    const size = Math.floor(count / groups);
    if (!(size >= least)) {
      throw new Error(`${count} people cannot be split into groups of ${least} to ${most}.`);
    }
    return Array.from({ length: groups }, (_, g) => size + (g < count % groups ? 1 : 0));
  };

  const checkSizes = (sizes, count) => {
    if (sizes.reduce((a, b) => a + b, 0) !== count) {
      throw new Error(`The groups' sizes must add up to ${count} people.`);
    }
  };
  /** Summaries of groups of people. */
  function* summarize(network, people, sizes = groupSizes(network, people.length)) {
    checkSizes(sizes, people.length);
    return yield* pool(network, yield* embedded(network, people), sizes);
  }
  /** The same from what `embed` has returned, which is good for groups of any size. */
  function* pool(network, embeddings, sizes) {
    checkSizes(sizes, embeddings.length);
    const estimates = yield* through(embeddings, [network.estimates]);
    const members = yield* through(embeddings, network.members, (v, j) => [...v, ...estimates[j]]);
    const pooled = [];
    const starts = [];
    let start = 0;
    for (const size of sizes) {
      const [own, guesses] = [members, estimates].map((v) => v.slice(start, start + size));
      const share = start / embeddings.length;
      starts.push(yield* population(network, guesses, share));
      pooled.push([...average(own), ...starts.at(-1).known, logSize(size)]);
      start += size;
      yield { share: start / embeddings.length };
    }
    const wide = yield* through(pooled, network.group);
    const learned = yield* through(wide, [network.summary], (v, g) => [...v, ...pooled[g]]);
    return learned.map((v, g) => v.map((x, k) =>
      (starts[g].known[k] ?? 0) + (starts[g].sd[k] ?? 1) * x));
  }
  const average = (vectors) => {
    const sum = new Float64Array(vectors[0].length);
    for (const v of vectors) for (let k = 0; k < v.length; k++) sum[k] += v[k];
    return sum.map((s) => s / vectors.length);
  };

  // ------------------------------------------------------------------------ people and population

  /** Mean and precision I + A A' that stand in the first of `values`, times `known`. */
  const gaussian = (values, d, known) => {
    const mean = Float64Array.from({ length: d }, (_, i) => known * values[i]);
    const precision = squared(values, d, (v) => known * Math.exp(v));
    for (let i = 0; i < d; i++) precision[i * d + i] += 1;
    return { mean, precision };
  };
  /** A A' for the factor that stands in `values` behind the mean. */
  const squared = (values, d, scaleOf) => {
    const a = new Float64Array(d * d);
    for (let i = 0, next = 2 * d; i < d; i++) {
      const scale = scaleOf(values[d + i]);
      for (let j = 0; j < i; j++) a[i * d + j] = scale * values[next++];
      a[i * d + i] = scale;
    }
    const out = new Float64Array(d * d);
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        for (let k = 0; k <= Math.min(i, j); k++) out[i * d + j] += a[i * d + k] * a[j * d + k];
      }
    }
    return out;
  };
  /** Likelihood of a person's own and the shared parameters, as `likelihood` in hierarchical.py. */
  const likelihood = (values, d) => {
    const [low, high] = LOG_SCALE;
    const precision = squared(values, d, (v) => Math.exp(Math.min(high, Math.max(low, v))));
    return { precision, pull: product(precision, values.slice(0, d), d, d, 1) };
  };

  /** Random-effects inference from people's likelihoods, as `population` in hierarchical.py: what
   * an anchored network starts from, {known: [...means, ...log scales], sd}. */
  function* population({ hierarchy: h, sds, dim }, people, share) {
    const n = h.population.length;
    const d = n + h.shared.length;
    const s = d - n;
    const grid = h.log_spreads.map((v) => Math.exp(2 * v));  // (n, k)
    const k = grid.length / n;
    const told = [];
    for (const values of people) {
      const { pull, precision } = likelihood(values, d);
      told.push({ own: block(precision, d, [0, n], [0, n]), cross: block(precision, d, [0, n], [n, d]),
        back: block(precision, d, [n, d], [0, n]), both: block(precision, d, [n, d], [n, d]),
        pull: pull.subarray(0, n), push: pull.subarray(n) });
      yield { share };
    }
    const mu = new Float64Array(n);
    const variance = new Float64Array(n).fill(1);
    const found = { mean: new Float64Array(dim), sd: new Float64Array(dim) };
    for (let pass = 0; pass < PASSES; pass++) {
      // Shared parameters, people integrated out.
      const known = Float64Array.from({ length: s * s }, (_, i) => (i % (s + 1) === 0 ? 1 : 0));
      const about = new Float64Array(s);
      const moved = [];
      for (const one of told) {
        const covariance = inverse(one.own.map((v, i) =>
          (i % (n + 1) === 0 ? v + 1 / variance[Math.floor(i / n)] : v)), n);
        const pull = one.pull.map((v, i) => v + mu[i] / variance[i]);
        const gain = product(one.back, covariance, s, n, n);
        product(gain, one.cross, s, n, s).forEach((v, i) => { known[i] += one.both[i] - v; });
        product(gain, pull, s, n, 1).forEach((v, i) => { about[i] += one.push[i] - v; });
        moved.push({ covariance, pull });
        yield { share };
      }
      const sharedCovariance = inverse(known, s);
      const shared = product(sharedCovariance, about, s, s, 1);
      // What each person says about each parameter, and their population.
      const [logPost, total, lean] = [0, 0, 0].map(() => new Float64Array(n * k));
      for (const [j, { covariance, pull }] of moved.entries()) {
        product(told[j].cross, shared, n, s, 1).forEach((v, i) => { pull[i] -= v; });
        const mean = product(covariance, pull, n, n, 1);
        for (let i = 0; i < n; i++) {
          const spread = covariance[i * n + i];
          const weight = Math.max(1 / spread - 1 / variance[i], 0);
          const force = mean[i] / spread - mu[i] / variance[i];
          for (let g = i * k; g < (i + 1) * k; g++) {
            const kept = 1 / (1 + weight * grid[g]);
            logPost[g] += 0.5 * (force * force * grid[g] * kept + Math.log(kept));
            total[g] += weight * kept;
            lean[g] += force * kept;
          }
        }
        yield { share };
      }
      for (let i = 0; i < n; i++) {
        const at = Array.from({ length: k }, (_, g) => i * k + g);
        const all = at.map((g) => total[g] + h.center_sd[i] ** -2);
        const log = at.map((g, l) => logPost[g] + h.log_weights[l] +
          0.5 * (lean[g] ** 2 / all[l] - Math.log(all[l])));
        const most = log.reduce((a, b) => Math.max(a, b));
        const weights = log.map((v) => Math.exp(v - most));
        const sum = weights.reduce((a, b) => a + b);
        const mean = (of) => weights.reduce((a, w, l) => a + w * of(l), 0) / sum;
        const center = (l) => lean[at[l]] / all[l];
        const spread = (l) => h.log_spreads[at[l]];
        mu[i] = mean(center);
        const logSpread = mean(spread);
        variance[i] = Math.exp(2 * logSpread);
        const [a, b] = h.population[i];
        const middle = average(at.map((g) => [h.log_spreads[g]]))[0];
        found.mean[a] = mu[i] / h.center_sd[i];
        found.mean[b] = (logSpread - middle) / sds[b];
        found.sd[a] = Math.sqrt(mean((l) => 1 / all[l] + (center(l) - mu[i]) ** 2)) / h.center_sd[i];
        found.sd[b] = Math.sqrt(mean((l) => (spread(l) - logSpread) ** 2) + 1e-6) / sds[b];
      }
      h.shared.forEach((a, i) => {
        found.mean[a] = shared[i];
        found.sd[a] = Math.sqrt(sharedCovariance[i * s + i]);
      });
    }
    const scales = found.sd.map((v) => 0.5 * Math.log(Math.max(v ** -2 - 1, 1e-2)));
    return { known: [...found.mean, ...scales], sd: found.sd };
  }

  /** A person's posterior as population times likelihood, with the learned corrections, for each of
   * several populations (as PersonPosterior in hierarchical.py); the person is the same in all. */
  const personGaussians = ({ hierarchy: h, means, sds, correction }, conditions) => {
    const n = h.population.length;
    const d = n + h.shared.length;
    const { pull, precision } = likelihood(conditions[0].slice(means.length), d);
    const corrections = atOnce(conditions, correction);
    return conditions.map((z, r) => {
      const at = (place) => means[place] + sds[place] * z[place];
      const unit = h.population.map(([, b], i) => Math.exp(at(b)) / h.scale[i]);
      const start = h.population.map(([a], i) => (at(a) - h.center[i]) / h.scale[i]);
      const own = new Float64Array(n * n);
      const lean = Float64Array.from(unit, (u, i) => {
        let sum = pull[i];
        for (let j = 0; j < n; j++) {
          own[i * n + j] = u * precision[i * d + j] * unit[j] + (i === j ? 1 : 0);
          sum -= precision[i * d + j] * start[j];
        }
        h.shared.forEach((place, j) => { sum -= precision[i * d + n + j] * z[place]; });
        return u * sum;
      });
      const factor = cholesky(own, n);
      return { mean: solveUpper(factor, solveLower(factor, lean)), factor,
        shift: corrections[r].subarray(0, n), spread: corrections[r].subarray(n).map((v) => Math.exp(-v)) };
    });
  };

  // ------------------------------------------------------------------------------- the score net

  /** What depends on the time alone: gains and shifts of the blocks. */
  const films = ({ subnet }, time) => {
    const turns = 2 * Math.PI * subnet.scale * time;
    const waves = Array.from(subnet.frequencies ?? [], (w) => w * turns);
    const embedding = inFours([[time, ...waves.map(Math.sin), ...waves.map(Math.cos)]]);
    const row = (map, add) => Float32Array.from(
      inRows(dense(embedding, 1, map), 1, map)[0], (v) => v + add);
    return subnet.blocks.map(({ gamma, beta }) => ({
      gain: gamma && row(gamma, 1), shift: row(beta, 0) }));
  };

  /** The subnet and its projector, of inputs x in fours; `start(h)` writes the merged parts. */
  const forward = (network, x, rows, start, film) => {
    const { subnet, room, projector } = network;
    let [h, next] = room;
    dense(x, rows, subnet.x, h);
    start(next);
    multiply(h, rows, subnet.state, next);
    subnet.blocks.forEach((block, b) => {
      [h, next] = [next, h];
      dense(h, rows, block.dense, next);
      bend(next, h, rows, film[b]);
      normalize(next, rows, block.norm);
    });
    return dense(next, rows, projector, network.rest);
  };
  const bend = (out, skip, rows, { gain, shift }) => {
    const width = shift.length;
    for (let r = 0; r < rows; r += 4) {
      for (let k = 0, i = r * width; k < width; k++) {
        const g = gain ? gain[k] : 1;
        for (const end = i + 4; i < end; i++) out[i] = out[i] * g + shift[k] + skip[i];
      }
    }
  };
  /** Write rows `of(r)` of the merged parts. */
  const gather = (parts, rows, of) => (out) => {
    for (let r = 0; r < rows; r++) {
      const part = parts[of(r)];
      for (let k = 0, i = place(r, part.length); k < part.length; k++, i += 4) out[i] = part[k];
    }
  };

  /** Prepare the groups of a study from their summaries, once for all settings. */
  function* prepare(network, summaries) {
    const known = summaries.map((s) => (s.some((v) => v !== 0) ? 1 : 0));
    const { condition, given } = network.subnet;  // what depends on the conditions alone
    const parts = yield* through(summaries, [condition, given]);
    const anchors = [];
    for (const [g, s] of summaries.entries()) {
      const { mean, precision } = gaussian(s, network.dim, known[g]);
      anchors.push({ mean, precision, pull: product(precision, mean, network.dim, network.dim, 1) });
      yield { share: 1 };
    }
    return { network, known, anchors, merged: parts, count: summaries.length };
  }

  const noiseLevel = (network, logSnr) => {
    const { min_log_snr: low, max_log_snr: high } = network.schedule;
    let film;  // of a thousand levels when they are needed, not at once
    return { snr: Math.exp(logSnr), alpha: Math.sqrt(sigmoid(logSnr)),
      sigma: Math.sqrt(sigmoid(-logSnr)),
      get film() { return film ??= films(network, (2 * (logSnr - low)) / (high - low) - 1); } };
  };

  /** What the subnet adds to the denoised parameters, (rows, d) into `out`: x of row r is that of
   * draw `draw(r)`, the group `group(r)`. */
  const residual = (groups, x, rows, draw, group, level, out) => {
    const { network, anchors, known, merged } = groups;
    const d = network.dim;
    const width = even(2 * d);
    const { inputs, scales } = network;
    for (let r = 0; r < rows; r++) {
      const { mean, precision } = anchors[group(r)];
      for (let k = 0, i = place(r, width); k < d; k++, i += 4) {
        const own = precision[k * d + k];
        const share = Math.sqrt(own / (own + level.snr));
        inputs[i] = (x[draw(r) * d + k] - level.alpha * mean[k]) /
          Math.sqrt(level.alpha ** 2 / own + level.sigma ** 2);
        inputs[i + 4 * d] = share;
        scales[r * d + k] = (known[group(r)] * share) / Math.sqrt(own + level.snr);
      }
    }
    const rest = forward(network, inputs, rows, gather(merged, rows, group), level.film);
    for (let r = 0; r < rows; r++) {
      for (let k = 0, i = place(r, even(d)); k < d; k++, i += 4) {
        out[r * d + k] = scales[r * d + k] * rest[i];
      }
    }
    return out;
  };

  // --------------------------------------------------------------------------------- composition

  const named = (network, z, count) => {
    const { names, means, sds, dim } = network;
    return Object.fromEntries(names.map((name, k) => [name, Float64Array.from({ length: count },
      (_, s) => means[k] + sds[k] * z[s * dim + k])]));
  };
  const checkCounts = (counts) => {
    for (const [name, value] of Object.entries(counts)) {
      if (!(Number.isInteger(value) && value > 0)) {
        throw new Error(`${name} must be a positive integer, got ${value}.`);
      }
    }
  };
  /** What is drawn at once: [{from, draws, seed}], each with its own seed, to be drawn anywhere. */
  const batches = (draws, seed) => Array.from({ length: Math.ceil(draws / DRAWS) }, (_, b) => ({
    from: b * DRAWS, draws: Math.min(DRAWS, draws - b * DRAWS),
    seed: (seed + Math.imul(b, 0x9e3779b9)) >>> 0 }));
  /** Draws by `some(count, random)`, a batch at a time; every yield says how many are ready. */
  function* inBatches({ network }, { draws = 100, seed = 0, random }, some) {
    checkCounts({ draws });
    const z = new Float64Array(draws * network.dim);
    for (const { from: ready, draws: count, seed: own } of batches(draws, seed)) {
      const work = some(count, random ?? eam.random(own));
      let step;
      while (!(step = work.next()).done) {
        yield { share: (ready + step.value * count) / draws, ready, z };
      }
      if (!step.value.every(Number.isFinite)) {
        throw new Error("The draws are not finite: the sampler diverged.");
      }
      z.set(step.value, ready * network.dim);
    }
    return { z, values: named(network, z, draws) };
  }
  const noise = (random, n) => {
    const out = new Float64Array(n);
    for (let i = 0; i < n; i++) out[i] = random.normal();
    return out;
  };

  /** Draws from the product of the groups' posteriors, weighted by their precisions. */
  const gaussianComposition = (groups, { steps, ...options } = {}) => {
    const { network, anchors, count } = groups;
    const d = network.dim;
    const most = steps ?? network.steps[count === 1 ? "single" : "several"];
    checkCounts({ steps: most });
    const [first, last] = LOG_SNR;
    const levels = Array.from({ length: most }, (_, i) =>
      noiseLevel(network, Math.fround(first + ((last - first) * i) / Math.max(1, most - 1))));
    const pull = new Float64Array(d);
    const total = new Float64Array(d * d);
    for (const anchor of anchors) {
      anchor.pull.forEach((v, i) => { pull[i] += v; });
      anchor.precision.forEach((v, i) => { total[i] += v; });
    }
    for (let i = 0; i < d; i++) total[i * d + i] += 1 - count;  // the prior, once
    const raised = (matrix, snr) => matrix.map((v, i) => (i % (d + 1) === 0 ? v + snr : v));
    const normal = (factor, pulls, e) => solveUpper(factor,
      solveLower(factor, pulls).map((half, k) => half + e[k]));

    return inBatches(groups, options, function* batch(n, random) {
      const rest = new Float64Array(ROWS * d);
      const row = (values, s) => values.subarray(s * d, (s + 1) * d);
      const perDraw = (f) => {
        const out = new Float64Array(n * d);
        for (let s = 0; s < n; s++) out.set(f(s), s * d);
        return out;
      };
      const clean = function* clean(x, level, i) {
        const beyond = new Float64Array(n * d);
        for (let g = 0; g < count; g++) {
          residual(groups, x, n, (r) => r, () => g, level, rest);
          const weight = raised(anchors[g].precision, level.snr);
          for (let s = 0; s < n * d; s += d) {
            for (let k = 0; k < d; k++) {
              for (let l = 0; l < d; l++) beyond[s + k] += weight[k * d + l] * rest[s + l];
            }
          }
          yield (i + g / count) / most;
        }
        const factor = cholesky(total, d, level.snr);
        const e = noise(random, n * d);
        const gain = level.alpha / level.sigma ** 2;
        return perDraw((s) => normal(factor, row(x, s).map((v, k) =>
          pull[k] + gain * v + beyond[s * d + k]), row(e, s)));
      };
      let e = noise(random, n * d);
      const factor = cholesky(total, d);
      let x = perDraw((s) => normal(factor, pull.slice(), row(e, s)));
      e = noise(random, n * d);
      x = x.map((v, i) => levels[0].alpha * v + levels[0].sigma * e[i]);
      for (let i = 0; i < most - 1; i++) {
        const [level, next] = [levels[i], levels[i + 1]];
        const guess = yield* clean(x, level, i);
        const kept = level.snr / next.snr;  // share of the noise that stays
        const stay = (next.sigma / level.sigma) * Math.sqrt(kept);
        e = noise(random, n * d);
        x = x.map((v, j) => stay * v + next.alpha * (1 - kept) * guess[j] +
          next.sigma * Math.sqrt(1 - kept) * e[j]);
      }
      return yield* clean(x, levels[most - 1], most - 1);
    });
  };

  /** What the steps of Euler and Maruyama do, from t = 1 to 0 (as `_levels` in summed.py). */
  const summedLevels = (network, steps, d0, d1) => {
    const { min_log_snr: low, max_log_snr: high, shift } = network.schedule;
    // Single precision, as in the library: at t = 1 the signal is what remains of two numbers.
    const f = Math.fround;
    const cut = (logSnr) => f(f(2 / Math.PI) * f(Math.atan(f(Math.exp(shift - logSnr / 2)))));
    const span = f(cut(low) - cut(high));
    const size = Math.fround(1 / steps);
    let t = 1;
    return Array.from({ length: steps }, () => {
      const angle = f(f(Math.PI) * f(cut(high) + f(span * t)));
      const logSnr = f(2 * shift - 2 * Math.log(Math.tan(angle / 2)));
      const beta = sigmoid(-logSnr) * ((2 * Math.PI) / Math.sin(angle)) * span;
      const push = Math.min(size, t) * beta;
      const level = Object.assign(noiseLevel(network, logSnr), { bridge: d0 ** (1 - t) * d1 ** t,
        drift: push / 2, push, spread: Math.sqrt(push) });
      t = Math.max(0, Math.fround(t - size));
      return level;
    });
  };
  /** Write a uniform subset of `size` of n numbers (Floyd's algorithm; Bentley, 1987). */
  const subset = (out, start, size, n, uniform) => {
    for (let i = 0; i < size; i++) {
      const j = n - size + i;
      if (size === n) { out[start + i] = i; continue; }
      const number = Math.floor(uniform() * (j + 1));
      const taken = out.subarray(start, start + i).includes(number);
      out[start + i] = taken ? j : number;
    }
  };

  /** Draws by the summed score, with a fresh random mini-batch for each draw and step. */
  const summedComposition = (groups, options = {}) => {
    const { miniBatch = 10, d0 = 1, d1 = 1, steps = 100, ...rest } = options;
    const { network, anchors, count } = groups;
    const d = network.dim;
    checkCounts({ steps, miniBatch });
    const size = Math.min(miniBatch, count);
    if (!(d0 > 0 && d1 > 0)) throw new Error(`d0 and d1 must be positive, got ${d0} and ${d1}.`);
    const levels = summedLevels(network, steps, d0, d1);

    return inBatches(groups, rest, function* batch(n, random) {
      const index = new Int32Array(n * size);
      const own = new Float64Array(ROWS * d);
      const pull = new Float64Array(d);
      const x = noise(random, n * d);
      for (const [i, level] of levels.entries()) {
        const { alpha, snr } = level;
        const variance = level.sigma ** 2;
        const total = new Float64Array(n * d);
        for (let s = 0; s < n; s++) subset(index, s * size, size, count, random.uniform);
        for (let from = 0; from < index.length; from += ROWS) {
          const rows = Math.min(ROWS, index.length - from);
          const draw = (r) => Math.floor((from + r) / size);
          residual(groups, x, rows, draw, (r) => index[from + r], level, own);
          for (let r = 0; r < rows; r++) {
            const { precision, pull: towards } = anchors[index[from + r]];
            const at = draw(r) * d;
            for (let k = 0; k < d; k++) pull[k] = towards[k] + (alpha / variance) * x[at + k];
            const factor = cholesky(precision, d, snr);
            solveUpper(factor, solveLower(factor, pull));
            for (let k = 0; k < d; k++) total[at + k] += pull[k] + own[r * d + k];
          }
          yield (i + from / index.length) / steps;
        }
        const e = noise(random, n * d);
        for (let j = 0; j < x.length; j++) {
          const sum = (alpha * total[j] - size * x[j]) / variance;
          const score = level.bridge * ((count / size) * (sum + size * x[j]) - x[j]);
          const clean = Math.max(-CLIP, Math.min(CLIP, (x[j] + variance * score) / alpha));
          x[j] += level.drift * x[j] + level.push * ((alpha * clean - x[j]) / variance) +
            level.spread * e[j];
        }
      }
      return x;
    });
  };

  // -------------------------------------------------------------------------------------- people

  /** One draw of each person's parameters for each of the group's: {name: (S x J)}, row by row. */
  function* people(network, values, study, { seed = 0, random = eam.random(seed) } = {}) {
    const { names, means, sds, steps, rho } = network;
    const count = values[names[0]]?.length;
    if (!names.every((name) => count > 0 && values[name]?.length === count)) {
      throw new Error(`The group's draws must be equally many of each of ${names.join(", ")}.`);
    }
    const found = Object.fromEntries(
      network.people.map(({ name }) => [name, new Float64Array(count * study.length)]));
    const times = Array.from({ length: steps }, (_, n) =>
      0.5 * Math.PI * Math.exp(-0.5 * Math.PI * rho * (n / steps)));
    const film = times.map((t) => films(network, t));
    const summaries = yield* summarizePeople(network, study);
    for (const [j, summary] of summaries.entries()) {
      for (let from = 0; from < count; from += DRAWS) {
        const rows = Math.min(DRAWS, count - from);
        const conditions = Array.from({ length: rows }, (_, r) => [
          ...names.map((name, k) => (values[name][from + r] - means[k]) / sds[k]), ...summary]);
        const w = consistent(network, conditions, times, film, random);
        network.people.forEach(({ name, mean, log_sd: spread, positive }, k) => {
          for (let r = 0; r < rows; r++) {
            const value = values[mean][from + r] + Math.exp(values[spread][from + r]) * w[r][k];
            found[name][(from + r) * study.length + j] = positive ? Math.exp(value) : value;
          }
        });
        yield { share: (j + (from + rows) / count) / study.length, ready: j };
      }
    }
    return found;
  }

  /** Draws of the consistency model, in units of the population (as `_inverse` in hierarchical.py). */
  const consistent = (network, conditions, times, film, random) => {
    const { dim: d, sigma } = network;
    const rows = conditions.length;
    const parts = atOnce(conditions, [network.subnet.condition, network.subnet.given]);
    const start = gather(parts, rows, (r) => r);
    const anchors = personGaussians(network, conditions);
    const x = new Float64Array(rows * d);
    const inputs = matrix(rows, d);
    times.forEach((t, n) => {
      const e = noise(random, rows * d);
      const [cos, sin] = [Math.cos(t), Math.sin(t)];
      for (let i = 0; i < x.length; i++) {
        x[i] = n === 0 ? sigma * e[i] : cos * x[i] + sin * sigma * e[i];
        inputs[place(Math.floor(i / d), even(d)) + 4 * (i % d)] = x[i] / sigma;
      }
      const f = forward(network, inputs, rows, start, film[n]);
      for (let i = 0; i < x.length; i++) {
        x[i] = cos * x[i] - sin * sigma * f[place(Math.floor(i / d), even(d)) + 4 * (i % d)];
      }
    });
    return anchors.map(({ mean, factor, shift, spread }, r) => {
      const w = x.subarray(r * d, (r + 1) * d);
      return solveUpper(factor, w.map((v, k) => v * spread[k] + shift[k]))
        .map((back, k) => mean[k] + back);
    });
  };

  // ------------------------------------------------------------------------------------- running

  /**
   * Run a generator to its end and return what it returns. The page has its turn after every
   * `slice` ms; `progress` gets what was yielded last, and an AbortSignal ends it.
   */
  const run = async (work, { progress, signal, slice = SLICE_MS } = {}) => {
    const { port1, port2 } = new MessageChannel();  // timers would wait four ms each time
    const turn = () => new Promise((go) => { port1.onmessage = go; port2.postMessage(null); });
    try {
      for (;;) {
        signal?.throwIfAborted();
        const end = performance.now() + slice;
        let step;
        do step = work.next(); while (!step.done && performance.now() < end);
        if (step.done) return step.value;
        progress?.(step.value);
        await turn();
      }
    } finally {
      port1.close();
    }
  };

  eam.engine = { load, groupSizes, embed: embedded, pool, summarize, summarizePeople, prepare,
    batches, gaussianComposition, summedComposition, people, named, run };
})();
