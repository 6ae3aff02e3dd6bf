// What must hold on many nodes, by what was seen from outside. Pure: the tests feed it made-up ledgers. Numbers in brackets are
// those of docs/how-it-works.md, "What always holds".
import { MAX_ATTEMPTS } from './installation.ts';
import type {
  FlowRecord,
  GuessRecord,
  Ledger,
  LimitRecord,
  Moment,
  SeenReply,
  TextRecord,
  VerificationRecord,
} from './ledger.ts';

export const rules = {
  'one approval': 'of any number of right codes one is approved, whoever answered, and none afterwards [1]',
  'attempts bounded': 'no more than five codes are compared for a verification, wherever they were sent to [2]',
  'attempts kept': 'no attempt that was answered is forgotten [2]',
  'guesses bounded': 'no more than 20 guesses at a number [3]',
  'limit exact': 'a limit of three lets three through, and a request without an answer counts or not [7]',
  'nothing lost':
    'each verification that was acknowledged is there, and its code is good or the state says why not [8]',
  'messages settled': 'each message goes out, or its history says why not, whoever has to take it up [8]',
  'one message': 'one key has one id and one message with one code, through whichever nodes it is asked again [9]',
  'clear answers': 'whoever asks gets a 2xx, a 4xx or a 503 with Retry-After and a code [15]',
  'in time': 'whoever is refused is told within 2 s; what is done has two steps, and takes 4 s at most',
  'back by itself': 'each node serves again within 5 s after the fault, and goes on doing so [15]',
  'one time': 'a code ends, a limit and a lock count, and a token is dated by one time on all nodes [5]',
  'clean logs': 'no bug and no full number in a log',
} as const;
export type Rule = keyof typeof rules;

/** What a fault may make the service forget. */
export type Excuse = {
  readonly why: string;
  /** only what was acknowledged so shortly before the fault, or during it; anything when undefined */
  readonly lastMs?: number;
};
export type Excuses = Partial<Record<Rule, Excuse>>;

export type Broken = {
  readonly rule: Rule;
  readonly what: string;
  /** before the end of the fault: when the last was acknowledged, or asked, of what was forgotten if anything was */
  readonly knownAt?: number;
};

const ANSWER_MS = 2000;
/** Two steps of the store, with the hand-over in between. */
const DONE_MS = 4000;
/** For a machine that runs all servers and all nodes, and has two cores. */
const SLACK_MS = 250;
/** How long a repeated request waits for the answer of the first one, which may never come. */
const REPEAT_MS = 10_000;
export const RECOVERY_MS = 5000;

/** @returns what was wrong; nothing when all held */
export function judgeLedger(ledger: Ledger): Broken[] {
  return [
    ...ledger.records.flatMap((record) => judgeRecord(record, ledger.faultEndedAt)),
    ...ledger.replies.flatMap(judgeReply),
    ...judgeRecovery(ledger),
    ...ledger.further,
    ...ledger.complaints.map((what) => ({ rule: 'clean logs' as const, what })),
  ];
}

function judgeRecord(record: FlowRecord, until: number): Broken[] {
  switch (record.kind) {
    case 'verification':
      return [...judgeKeyed(record, until), ...judgeVerification(record, until)];
    case 'text':
      return judgeKeyed(record, until);
    case 'limit':
      return judgeLimit(record, until);
    case 'guesses':
      return judgeGuesses(record, until);
  }
}

function judgeKeyed(
  { ids, acknowledgedAt, unsureAt, refusals, handOvers, messages }: VerificationRecord | TextRecord,
  until: number,
): Broken[] {
  const knownAt = lastBefore(until, [...acknowledgedAt, ...unsureAt]);
  const sent = new Set(handOvers.map(({ messageId }) => messageId));
  const codes = new Set(handOvers.map(({ code }) => code));
  return those(
    [
      [ids.size > 1, 'one message', `one key got ${ids.size} ids`],
      [sent.size > 1, 'one message', `one key sent ${sent.size} messages`],
      [codes.size > 1, 'one message', 'one key sent two codes'],
      [messages.length > 1, 'one message', `one key has ${messages.length} messages in the list`],
      [ids.size === 0 && refusals.length === 0, 'clear answers', 'a request with a key was never answered'],
      [refusals.length > 0, 'nothing lost', `a request with a key was refused: ${refusals[0]}`],
      [ids.size > 0 && messages.length === 0, 'nothing lost', 'acknowledged, and there is no message'],
      [ids.size > 0 && sent.size === 0, 'messages settled', 'acknowledged, and nothing was sent'],
      [messages.some(isUnsettled), 'messages settled', 'a message has no outcome'],
    ],
    knownAt,
  );
}

function judgeVerification(
  { ids, acknowledgedAt, checks, state, attemptsLeft, again }: VerificationRecord,
  until: number,
): Broken[] {
  if (ids.size === 0) return [];
  const answered = checks.filter(({ outcome }) => outcome === 'wrong' || outcome === 'approved');
  const knownAt = lastBefore(until, [...acknowledgedAt, ...answered]);
  const wrong = checks.filter(({ outcome }) => outcome === 'wrong');
  const approved = checks.filter(({ outcome }) => outcome === 'approved').length;
  const compared = wrong.length + approved;
  const unsureRight = checks.some(({ isRight, outcome }) => isRight && outcome === 'unsure');
  const unsure = checks.filter(({ outcome }) => outcome === 'unsure').length;
  const lefts = wrong.map((each) => each.attemptsLeft);
  const isExplained =
    state === undefined ||
    state === 'unknown' ||
    (state === 'approved' && (approved > 0 || unsureRight)) ||
    (state === 'exhausted' && compared + unsure >= MAX_ATTEMPTS);
  return those(
    [
      [approved > 1, 'one approval', `${approved} right codes of one verification were approved`],
      [again === 'approved', 'one approval', 'a code was approved again when all was over'],
      [
        approved > 0 && state !== undefined && state !== 'unknown' && state !== 'approved',
        'one approval',
        `approved, and ${state} afterwards`,
      ],
      [
        checks.some(({ isRight, outcome }) => !isRight && outcome === 'approved'),
        'one approval',
        'a wrong code approved',
      ],
      [compared > MAX_ATTEMPTS, 'attempts bounded', `${compared} codes were compared`],
      [
        new Set(lefts).size < lefts.length,
        'attempts kept',
        `two attempts were counted as one (${lefts.join(', ')} left)`,
      ],
      [
        attemptsLeft !== undefined && attemptsLeft > MAX_ATTEMPTS - compared,
        'attempts kept',
        `${compared} codes were compared, and ${attemptsLeft} attempts are left`,
      ],
      [state === undefined, 'clear answers', 'what became of a verification is not to be found out'],
      [state === 'unknown', 'nothing lost', 'acknowledged, and unknown when all was over'],
      [checks.some(({ outcome }) => outcome === 'unknown'), 'nothing lost', 'acknowledged, and unknown to a check'],
      [!isExplained, 'nothing lost', `${state} with ${approved} approvals and ${wrong.length} wrong codes`],
      [state !== undefined && checks.some(isWrongOfRight), 'nothing lost', 'the right code was called wrong'],
    ],
    knownAt,
  );
}

function isWrongOfRight({ isRight, outcome }: VerificationRecord['checks'][number]): boolean {
  return isRight && outcome === 'wrong';
}

function judgeLimit(
  { max, acknowledgedAt, unsureAt, refused, handOvers, messages }: LimitRecord,
  until: number,
): Broken[] {
  const [acknowledged, unsure] = [acknowledgedAt.length, unsureAt.length];
  const sent = new Set(handOvers.map(({ messageId }) => messageId)).size;
  const seen = `${acknowledged} acknowledged, ${unsure} without an answer, ${sent} sent, ${refused} refused`;
  return those(
    [
      [acknowledged > max || sent > max, 'limit exact', `more than ${max}: ${seen}`],
      [acknowledged + unsure < max && refused > 0, 'limit exact', `refused before there were ${max}: ${seen}`],
      [refused === 0, 'limit exact', `never refused: ${seen}`],
      [messages.some(isUnsettled), 'messages settled', 'a message has no outcome'],
    ],
    lastBefore(until, [...acknowledgedAt, ...unsureAt]),
  );
}

function judgeGuesses({ max, comparedAt, unsureAt, isLocked }: GuessRecord, until: number): Broken[] {
  const [compared, unsure] = [comparedAt.length, unsureAt.length];
  const seen = `${compared} compared, ${unsure} without an answer`;
  return those(
    [
      [compared > max, 'guesses bounded', `more than ${max}: ${seen}`],
      // The one that uses the budget up is told of the lock.
      [isLocked && compared + unsure < max - 1, 'guesses bounded', `locked too early: ${seen}`],
      [!isLocked, 'guesses bounded', `never locked: ${seen}`],
    ],
    lastBefore(until, [...comparedAt, ...unsureAt]),
  );
}

function judgeReply({ kind, status = 0, code, ms, what, mayWait, retryAfterSeconds }: SeenReply): Broken[] {
  const isClear = status < 500 || (status === 503 && code !== undefined && (retryAfterSeconds ?? 0) > 0);
  const mostMs = (status < 300 ? DONE_MS : ANSWER_MS) + SLACK_MS + (mayWait ? REPEAT_MS : 0);
  return those([
    [kind === 'hung', 'in time', `${what}: no answer at all`],
    [kind === 'answered' && !isClear, 'clear answers', `${what}: ${status} ${code ?? 'without a code'}`],
    [kind === 'answered' && ms > mostMs, 'in time', `${what}: ${status} after ${Math.round(ms)} ms`],
  ]);
}

function judgeRecovery(ledger: Ledger): Broken[] {
  const backAfter = recoveryMs(ledger);
  const failing = ledger.replies.filter(
    (reply) => reply.at > ledger.faultEndedAt + RECOVERY_MS && (reply.status ?? 500) >= 500,
  );
  return those([
    [backAfter === undefined, 'back by itself', 'a node did not serve again'],
    [(backAfter ?? 0) > RECOVERY_MS, 'back by itself', `served again after ${Math.round(backAfter ?? 0)} ms`],
    [failing.length > 0, 'back by itself', `${failing.length} requests failed later than 5 s after the fault`],
  ]);
}

/** From the end of the fault until the last of the nodes has done something again. @returns undefined when one did not */
export function recoveryMs({ replies, nodes, faultEndedAt }: Ledger): number | undefined {
  const firsts = Array.from({ length: nodes }, (_, node) => {
    const served = replies.filter((reply) => reply.node === node && reply.at >= faultEndedAt && isServed(reply));
    return Math.min(...served.map(({ at, ms }) => at + ms - faultEndedAt));
  });
  const last = Math.max(...firsts);
  return Number.isFinite(last) ? last : undefined;
}

export function isServed({ kind, status = 0 }: Pick<SeenReply, 'kind' | 'status'>): boolean {
  return kind === 'answered' && status < 500;
}

function isUnsettled({ status }: { readonly status: string }): boolean {
  return status === 'pending';
}

export function isExcused({ rule, knownAt }: Broken, excuses: Excuses, faultBeganAt: number): boolean {
  const excuse = excuses[rule];
  if (excuse === undefined) return false;
  return excuse.lastMs === undefined || (knownAt !== undefined && knownAt >= faultBeganAt - excuse.lastMs);
}

/** The last answer to what was asked before that. */
function lastBefore(until: number, moments: readonly Moment[]): number | undefined {
  const answers = moments.filter(({ sentAt }) => sentAt <= until).map(({ answeredAt }) => answeredAt);
  return answers.length === 0 ? undefined : Math.max(...answers);
}

function those(each: readonly (readonly [isBroken: boolean, rule: Rule, what: string])[], knownAt?: number): Broken[] {
  return each.flatMap(([isBroken, rule, what]) =>
    isBroken ? [{ rule, what, ...(knownAt === undefined ? {} : { knownAt }) }] : [],
  );
}
