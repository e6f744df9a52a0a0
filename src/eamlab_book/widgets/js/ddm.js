/* The diffusion decision model: exact density (as in density.py), stepped walks and exact trials (as
 * in simulator.py). */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const SERIES_SWITCH = 0.25;
  const LOG_ROOT_2PI = 0.5 * Math.log(2 * Math.PI);

  /** Sum of (w + 2k) exp(-2k(k + w)/u), k = -3 ... 3; k = 0 and -1 without cancellation. */
  const images = (u, w, v) => {
    const e = Math.exp((-2 * v) / u);
    let sum = w * (1 - e) - 2 * v * e;
    for (const k of [1, 2, 3]) sum += (w + 2 * k) * Math.exp((-2 * k * (k + w)) / u);
    for (const k of [2, 3]) sum += (w - 2 * k) * Math.exp((-2 * k * (k - w)) / u);
    return sum;
  };

  /** Sum of k exp(-(k^2 - 1) pi^2 u / 2) sin(k pi w), k = 1 ... 6. */
  const sines = (u, w, v) => {
    const rate = 0.5 * Math.PI ** 2 * u;
    let sum = Math.sin(Math.PI * Math.min(w, v));
    for (let k = 2; k <= 6; k++) {
      sum += k * Math.exp(-(k * k - 1) * rate) * Math.sin(k * Math.PI * w);
    }
    return sum;
  };

  /** Log density of a driftless first passage at 0 on [0, 1] from w; v = 1 - w. */
  const logF0 = (u, w, v) => u < SERIES_SWITCH
    ? (-0.5 * w * w) / u - 1.5 * Math.log(u) - LOG_ROOT_2PI + Math.log(images(u, w, v))
    : Math.log(Math.PI * sines(u, w, v)) - 0.5 * Math.PI ** 2 * u;

  /** Log density of a response; a drift N(nu, sdNu^2) that differs between people is integrated. */
  const logDensity = (rt, choice, { nu, alpha, t0, beta }, sdNu = 0) => {
    const time = rt - t0;
    const u = time / (alpha * alpha);
    if (!(u > 1e-300)) return -Infinity;
    const w = choice === 1 ? 1 - beta : beta;
    const gain = choice === 1 ? alpha * w : -alpha * w;  // evidence gained on the way to the bound
    const spread = 1 + sdNu * sdNu * time;
    const tilt = (gain * gain * sdNu * sdNu + 2 * gain * nu - time * nu * nu) / (2 * spread);
    return tilt - 0.5 * Math.log(spread) - 2 * Math.log(alpha) + logF0(u, w, 1 - w);
  };

  /** Probability of the upper bound. */
  const probability = ({ nu, alpha, beta }) => {
    const y = 2 * nu * alpha;
    if (y === 0) return beta;
    const size = Math.abs(y);
    const ratio = Math.expm1(-size * beta) / Math.expm1(-size);
    return y > 0 ? ratio : Math.exp(-size * (1 - beta)) * ratio;
  };

  const meanTime = (subject) => {
    const { nu, alpha, t0, beta } = subject;
    if (Math.abs(nu * alpha) < 1e-5) return t0 + alpha * alpha * beta * (1 - beta);
    return t0 + (alpha * (probability(subject) - beta)) / nu;
  };

  /** Densities at `times`, {upper: [], lower: []}. */
  const densities = (times, subject, sdNu) => ({
    upper: times.map((t) => Math.exp(logDensity(t, 1, subject, sdNu))),
    lower: times.map((t) => Math.exp(logDensity(t, 0, subject, sdNu))),
  });

  /**
   * Stepped walks (Euler and Maruyama), in units in which a step needs no product. `walk(track)`
   * returns {n: steps, upper, late} and, if asked to, records the evidence in the array `track`.
   */
  const walker = ({ nu, alpha, beta }, { step, inward, maxTime, seed }) => {
    const normal = eam.normals(eam.random(seed).uniform);
    const noise = Math.sqrt(step);
    const half = (0.5 * alpha) / noise - inward;
    const most = Math.ceil(maxTime / step - 1e-9);
    return (track) => {
      let x = ((beta - 0.5) * alpha) / noise;
      let n = 0;
      track?.push(0.5 * alpha + x * noise);
      while (x >= -half && x <= half && n < most) {
        x += nu * noise + normal();
        n += 1;
        track?.push(0.5 * alpha + x * noise);
      }
      return { n, upper: x > 0, late: x >= -half && x <= half };
    };
  };

  // Where the two series of the exit time's density meet, and below which no series is needed.
  const CUT = 0.64;
  const SQUEEZE = 1 - 0.0059;

  /** Complementary error function to 1.2e-7 of its value (Numerical Recipes, erfcc). */
  const erfc = (x) => {
    const t = 1 / (1 + 0.5 * Math.abs(x));
    const c = [0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806,
      0.09678418, 0.37409196, 1.00002368, -1.26551223];
    const tail = t * Math.exp(-x * x + c.reduce((sum, k) => sum * t + k, 0));
    return x >= 0 ? tail : 2 - tail;
  };
  const phi = (x) => 0.5 * erfc(-x * Math.SQRT1_2);

  /** Inverse Gaussian with mean 1/z and shape 1, truncated to (0, CUT). */
  const inverseGaussian = (z, { uniform, normal }) => {
    const exponential = () => -Math.log(1 - uniform());
    for (;;) {
      if (z * CUT < 1) {
        const e = exponential();
        if (e * e * CUT > 2 * exponential()) continue;
        const x = CUT / (1 + CUT * e) ** 2;
        if (2 * exponential() >= z * z * x) return x;
        continue;
      }
      const e = normal();
      const mean = 1 / z;
      const half = 0.5 * mean * e * e;
      let x = mean * (1 + half - Math.sqrt(half * (2 + half)));
      if (uniform() * (mean + x) > mean) x = (mean * mean) / x;
      if (x < CUT) return x;
    }
  };
  /** Whether u < 1 - 3 q^2 + 5 q^6 - 7 q^12 ..., from bounds that close in from both sides. */
  const accepts = (u, q) => {
    for (let total = 1, n = 1; ; n++) {
      total -= (2 * n + 1) * q ** (n * (n + 1));
      if (u <= total) return true;
      n += 1;
      total += (2 * n + 1) * q ** (n * (n + 1));
      if (u > total) return false;
    }
  };
  /** The way out of the largest symmetric interval around `y` inside (0, alpha). */
  const round = (y, nu, alpha) => {
    const h = Math.min(y, alpha - y);
    const z = Math.abs(nu) * h;
    const rate = Math.PI ** 2 / 8 + 0.5 * z * z;
    const late = (0.5 * Math.PI / rate) * Math.exp(z - rate * CUT);
    const root = Math.sqrt(CUT);
    const early = 2 * (phi((z * CUT - 1) / root) + Math.exp(2 * z) * phi(-(z * CUT + 1) / root));
    return { square: h * h, z, rate, late: z > 20 ? 0 : late / (late + early),
      upward: 1 / (1 + Math.exp(-2 * nu * h)), downEnds: y <= alpha - y, upEnds: alpha - y <= y,
      next: y <= alpha - y ? 2 * y : 2 * y - alpha };
  };
  /** Time at which Brownian motion with drift z leaves (-1, 1). */
  const exitTime = ({ z, rate, late }, random) => {
    for (;;) {
      const right = random.uniform() < late;
      const x = right ? CUT - Math.log(1 - random.uniform()) / rate : inverseGaussian(z, random);
      const u = random.uniform();
      if (u < SQUEEZE || accepts(u, Math.exp(right ? -0.5 * Math.PI ** 2 * x : -2 / x))) return x;
    }
  };
  /** Exact trials of a subject: every call of what it returns gives {time, upper}. */
  const sampler = ({ nu, alpha, t0, beta }, random) => {
    const rounds = [];  // one sequence of starts, whatever happens: the other exit ends the trial
    return () => {
      let [time, y] = [t0, beta * alpha];
      for (let r = 0; ; r++) {
        const now = (rounds[r] ??= round(y, nu, alpha));
        time += now.square * exitTime(now, random);
        const upper = random.uniform() < now.upward;
        if (upper ? now.upEnds : now.downEnds) return { time, upper };
        y = now.next;
      }
    };
  };

  eam.ddm = { logDensity, probability, meanTime, densities, walker, sampler };
})();
