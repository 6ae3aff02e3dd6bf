/**
 * The app under which an app in shadow mode keeps what is its own: limits, guesses, verifications, users. No configured
 * app can have such a name.
 */
export function shadowAppOf(app: string): string {
  return `${app}${SHADOW_SUFFIX}`;
}

export function isShadowApp(app: string): boolean {
  return app.endsWith(SHADOW_SUFFIX);
}

const SHADOW_SUFFIX = '~shadow';

/**
 * What became of a request in shadow mode:
 *
 * | outcome | means |
 * |---|---|
 * | `same` | status and shape of our answer are those of the old back end's |
 * | `different` | they are not; `difference` says how |
 * | `not-compared` | too many comparisons were under way, or ours could not be made |
 * | `upstream-failed` | the old back end gave no answer; `difference` says why not |
 */
export const shadowOutcomes = ['same', 'different', 'not-compared', 'upstream-failed'] as const;
export type ShadowOutcome = (typeof shadowOutcomes)[number];

/** Requests of one day that came to the same. No value of any answer is in it: no code, number or token. */
export type ShadowEntry = {
  /** UTC, `2026-11-20` */
  readonly day: string;
  readonly app: string;
  readonly dialect: string;
  /** `POST /api/v1/auth/send-otp` */
  readonly route: string;
  readonly outcome: ShadowOutcome;
  /** what the client got; undefined where nothing was compared */
  readonly upstreamStatus: number | undefined;
  readonly ourStatus: number | undefined;
  /** '' where there is none */
  readonly difference: string;
  /** how many there were; adds to what is counted already */
  readonly count: number;
  /** a body of each side, masked; '' where there is none */
  readonly upstreamExample: string;
  readonly ourExample: string;
};

export type ShadowQuery = {
  /** undefined for all */
  readonly app: string | undefined;
  /** UTC days, both included */
  readonly from: string;
  readonly to: string;
};
