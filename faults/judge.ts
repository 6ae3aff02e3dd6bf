// What must hold for every fault, by what was seen from outside. Pure: the tests feed it made-up observations.

/** One start with a provider that misbehaves first in the route, and one that is well behind it. */
export type Observation = {
  readonly provider: string;
  /** `none` for the provider when it is well */
  readonly fault: string;
  /** it makes the code itself, so that the second provider cannot carry the same */
  readonly isManaged: boolean;
  /** `accepted`, or the code of the refusal */
  readonly answer: string;
  readonly ms: number;
  /** of the message's history, in their order; `reason` is undefined where the provider took it */
  readonly dispatches: readonly {
    readonly provider: string;
    readonly reason: string | undefined;
    readonly code: string | undefined;
  }[];
  /** the code in each message that the first provider's simulator took: once per hand-over */
  readonly first: readonly string[];
  readonly second: readonly string[];
  /** what the check of the code that arrived said; undefined where none was to be checked */
  readonly isApproved: boolean | undefined;
  /** which secrets stand in a log line or in a refusal */
  readonly leaks: readonly string[];
};

/** 8 s for all hand-overs together, and a quarter of a second for all else. */
export const DEADLINE_MS = 8250;

/** The vendor's own refusals: they say what they mean, and take nothing. */
export const refusalFaults: readonly string[] = [
  'bad-number',
  'opt-out',
  'refuse-inside-2xx',
  'throttle',
  'credentials',
  'balance',
  'content',
];

/** @returns what was wrong, in sentences; nothing when all held */
export function judge(seen: Observation): string[] {
  const { fault, answer, ms, dispatches, first, second, isApproved, leaks } = seen;
  const reason = dispatches[0]?.reason;
  const isAccepted = answer === 'accepted';
  const mustStop = reason === 'recipient' || fault === 'opt-out';
  const carrier = dispatches.at(-1);
  const arrived = carrier?.provider === seen.provider ? first : second;
  const codes = new Set(seen.isManaged ? second : [...first, ...second]);
  const isExplained = dispatches.length > 0 && dispatches.every((each) => each.reason !== undefined);
  const broken: readonly (readonly [boolean, string])[] = [
    [ms > DEADLINE_MS, `late: answered after ${Math.round(ms)} ms`],
    [isAccepted && (carrier?.reason !== undefined || arrived.length === 0), 'lost: accepted, and nobody took it'],
    [!isAccepted && !isExplained, `lost: ${answer}, and the history does not say why`],
    [!isAccepted && !mustStop, `${answer}, although the second provider was well`],
    [mustStop && answer !== 'recipient-refused', `${answer} for a person who cannot or will not be reached`],
    [mustStop && (dispatches.length > 1 || second.length > 0), 'sent around a refusal that holds for everybody'],
    [first.length > 1 || second.length > 1, 'handed over twice to one provider'],
    [
      first.length > 0 && second.length > 0 && reason !== 'uncertain',
      `handed over twice, and the first outcome was ${reason ?? 'accepted'}, not uncertain`,
    ],
    [codes.size > 1 || codes.has(''), 'the second provider got another code'],
    [isAccepted && isApproved !== true, 'the code that arrived is not approved'],
    [leaks.length > 0, `in the log: ${leaks.join(', ')}`],
    [fault !== 'none' && isAccepted && reason === undefined, 'the fault did not show: the provider took the message'],
    [fault === 'none' && (reason !== undefined || second.length > 0), 'well, and not used'],
    [refusalFaults.includes(fault) && reason === 'uncertain', 'a refusal that was not understood'],
  ];
  return broken.flatMap(([isBroken, sentence]) => (isBroken ? [sentence] : []));
}

/** What a load of starts met while the first of two providers was dead, and afterwards. */
export type LoadObservation = {
  readonly way: string;
  readonly starts: number;
  readonly accepted: number;
  /** of starts before and after the breaker opened; `twin` is a service whose first provider is well, in the time after */
  readonly before: Percentiles;
  readonly after: Percentiles;
  readonly twin: Percentiles;
  /** hand-overs to the dead provider, and those of them that began after the breaker had opened */
  readonly handOvers: number;
  readonly handOversAfter: number;
  /** from the first start with the dead provider to the opening of its breaker; undefined: it never opened */
  readonly openedAfterMs: number | undefined;
  /** how often it was measured, until what was added was little enough */
  readonly rounds: number;
  /** how long the cool-off had still to run when the provider was well again */
  readonly coolOffLeftMs: number;
  /** from that moment to the first message that it took; undefined: none in time */
  readonly usedAfterMs: number | undefined;
};

export type Percentiles = { readonly count: number; readonly p50: number; readonly p99: number };

export const MOST_ADDED_MS = 5;
/** At 20 starts a second: one that has it probed, one that it then gets, and some time for a busy machine. */
export const MOST_AFTER_COOL_OFF_MS = 1000;

export function addedMs({ after, twin }: Pick<LoadObservation, 'after' | 'twin'>): number {
  return after.p99 - twin.p99;
}

/**
 * @param isTimed false where few starts on a machine shared with others say too little about milliseconds: two of 250
 * make the p99
 */
export function judgeLoad(seen: LoadObservation, isTimed: boolean): string[] {
  const { starts, accepted, openedAfterMs, handOversAfter, coolOffLeftMs, usedAfterMs } = seen;
  const overdueMs = usedAfterMs === undefined ? undefined : usedAfterMs - Math.max(0, coolOffLeftMs);
  const broken: readonly (readonly [boolean, string])[] = [
    [accepted < starts, `lost: ${starts - accepted} of ${starts} starts were not accepted`],
    [openedAfterMs === undefined, 'the breaker did not open'],
    [handOversAfter > 0, `${handOversAfter} messages waited for a provider whose breaker was open`],
    [
      isTimed && !(addedMs(seen) < MOST_ADDED_MS),
      `p99 is ${addedMs(seen).toFixed(1)} ms above that with a healthy provider`,
    ],
    [overdueMs === undefined, 'well again, and not used again'],
    [
      isTimed && overdueMs !== undefined && overdueMs > MOST_AFTER_COOL_OFF_MS,
      `used again ${overdueMs} ms after its cool-off`,
    ],
    [overdueMs !== undefined && overdueMs < -1, 'used again before its cool-off was over'],
  ];
  return broken.flatMap(([isBroken, sentence]) => (isBroken ? [sentence] : []));
}
