/** No rule looks back further than this (the configuration refuses longer windows), and no lock lasts longer. */
export const LONGEST_MEMORY_MS = 8 * 24 * 3_600_000;
/** How long a request may be repeated under its `Idempotency-Key`. */
export const IDEMPOTENCY_TTL_MS = 24 * 3_600_000;
/** A year and a month, so that a month can be compared with the same one a year ago. Sums name nobody. */
export const USAGE_KEPT_MS = 400 * 24 * 3_600_000;
