export type LatencySummary = {
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
};

/** Every latency of a run in ms, kept as it is: percentiles are then exact, and sorting a million takes 0.1 s. */
export class Latencies {
  #values = new Float64Array(65_536);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(ms: number): void {
    if (this.#count === this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#count++] = ms;
  }

  summary(): LatencySummary {
    const sorted = this.#values.slice(0, this.#count).sort();
    let total = 0;
    for (const value of sorted) total += value;
    /** Nearest rank: a latency that was really seen. */
    const percentile = (share: number): number =>
      sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
    return {
      mean: total / sorted.length,
      p50: percentile(0.5),
      p99: percentile(0.99),
      p999: percentile(0.999),
      max: percentile(1),
    };
  }
}
