export type SectionReport = {
  readonly title: string;
  /** Markdown. */
  readonly text: string;
  /** Every figure of every round. */
  readonly figures: unknown;
};

/** Enough to keep the server busy, without a queue that hides its latency. */
export const busyConnections = 32;
