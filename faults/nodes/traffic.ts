import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Ask, Reply } from './caller.ts';
import { GUESS_BUDGET, type Installation, START_LIMIT } from './installation.ts';
import type {
  CheckSeen,
  FlowRecord,
  GuessRecord,
  LimitRecord,
  Moment,
  SeenReply,
  TextRecord,
  VerificationRecord,
} from './ledger.ts';

const TRIES = 4;
const TRY_AGAIN_AFTER_MS = 150;
/** Beyond that nothing new is begun: a service that hangs is not buried. */
const MOST_FLOWS = 150;
const LIMIT_STARTS = START_LIMIT + 5;
const GUESSES_AT_ONCE = 8;
const GUESS_ROUNDS = 4;

/** Every number once, so that each record has its own. */
let lastNumber = 901_000_000;
export function freshNumber(): string {
  lastNumber += 1;
  return `+998${lastNumber}`;
}

/** What people and programs ask of the nodes, each request of whichever node, and what they were answered. */
export class Traffic {
  readonly replies: SeenReply[] = [];
  readonly records: FlowRecord[] = [];
  readonly #installation: Installation;
  readonly #underWay = new Set<Promise<void>>();
  #isStopped = false;
  #pacing: Promise<void> | undefined;

  constructor(installation: Installation) {
    this.#installation = installation;
  }

  /** @param flowsPerSecond at instants that do not depend on how long answers take */
  start(flowsPerSecond: number): void {
    this.#pacing = this.#pace(flowsPerSecond);
  }

  /** Begins nothing more, and returns when all that was begun has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#pacing;
    await Promise.all(this.#underWay);
  }

  async #pace(flowsPerSecond: number): Promise<void> {
    const begun = performance.now();
    for (let index = 0; !this.#isStopped; index += 1) {
      await delay(Math.max(0, begun + (index * 1000) / flowsPerSecond - performance.now()));
      if (this.#underWay.size >= MOST_FLOWS) continue;
      const flow: Promise<void> = this.#flow(index).finally(() => this.#underWay.delete(flow));
      this.#underWay.add(flow);
    }
  }

  #flow(index: number): Promise<void> {
    // Ten kinds in turns, so that a short run has them all.
    switch (index % 10) {
      case 0:
      case 5:
        return this.#verify('right code');
      case 1:
      case 6:
        return this.#verify('right codes at once');
      case 2:
        return this.#verify('wrong codes at once');
      case 3:
        return this.#verify('wrong, then right');
      case 4:
        return this.#verify('later');
      case 7:
        return this.#limit();
      case 8:
        return this.#guess();
      default:
        return this.#text();
    }
  }

  async #verify(
    how: 'right code' | 'right codes at once' | 'wrong codes at once' | 'wrong, then right' | 'later',
  ): Promise<void> {
    const number = freshNumber();
    const record = newVerification(number);
    this.records.push(record);
    const ask: Ask = {
      method: 'POST',
      path: '/v1/verifications',
      body: { to: number },
      idempotencyKey: randomUUID(),
      what: 'start',
    };
    keyedAsks.set(record, ask);
    // Now and then a client that asks twice at once.
    const hasTwin = randomInt(4) === 0;
    const twins = hasTwin ? [this.sendKeyed(record, ask, TRIES, hasTwin)] : [];
    await Promise.all([this.sendKeyed(record, ask, TRIES, hasTwin), ...twins]);
    const [id] = record.ids;
    const { code } = record;
    if (id === undefined || code === undefined || how === 'later') return;
    const right = () => this.check(record, id, code, true);
    const wrong = () => this.check(record, id, wrongCode(code), false);
    if (how === 'right codes at once') await Promise.all([right(), right(), right(), right()]);
    if (how === 'wrong codes at once') await Promise.all(Array.from({ length: 8 }, wrong));
    if (how === 'wrong, then right') await Promise.all([wrong(), wrong()]);
    for (let tried = 1; tried <= TRIES && (await right()) === 'unsure'; tried += 1) await delay(TRY_AGAIN_AFTER_MS);
  }

  async #text(): Promise<void> {
    const number = freshNumber();
    const record: TextRecord = { kind: 'text', ...newKeyed(number) };
    this.records.push(record);
    const ask: Ask = {
      method: 'POST',
      path: '/v1/messages',
      body: { to: number, text: 'Your table is ready.' },
      idempotencyKey: randomUUID(),
      what: 'message',
    };
    keyedAsks.set(record, ask);
    await this.sendKeyed(record, ask, TRIES);
  }

  async #limit(): Promise<void> {
    const record: LimitRecord = {
      kind: 'limit',
      number: freshNumber(),
      max: START_LIMIT,
      acknowledgedAt: [],
      unsureAt: [],
      refused: 0,
      handOvers: [],
      messages: [],
    };
    this.records.push(record);
    await Promise.all(Array.from({ length: LIMIT_STARTS }, (_, index) => this.startAgainst(record, `p${index}`)));
  }

  async #guess(): Promise<void> {
    const record: GuessRecord = {
      kind: 'guesses',
      number: freshNumber(),
      max: GUESS_BUDGET,
      comparedAt: [],
      unsureAt: [],
      isLocked: false,
    };
    this.records.push(record);
    for (let round = 0; round < GUESS_ROUNDS && !record.isLocked; round += 1) {
      await Promise.all(Array.from({ length: GUESSES_AT_ONCE }, () => this.guessAt(record)));
    }
  }

  /**
   * Sends a request with a key, again and again through other nodes, as a client does that wants an answer.
   * @param mayWait the first time too, since it may not be the first with that key
   */
  async sendKeyed(record: VerificationRecord | TextRecord, ask: Ask, tries: number, mayWait = false): Promise<boolean> {
    for (let tried = 1; tried <= tries; tried += 1) {
      const reply = await this.call(ask, mayWait || tried > 1);
      if (reply.kind === 'answered' && reply.status === 201) {
        record.ids.add(String(reply.body['id']));
        record.acknowledgedAt.push(momentOf(reply));
        if (record.kind === 'verification') record.code ??= this.#codeFor(record.number);
        return true;
      }
      if (isUnsure(reply)) record.unsureAt.push(momentOf(reply));
      else if (reply.kind === 'answered' && reply.code !== 'idempotency-in-progress') {
        record.refusals.push(reply.code ?? String(reply.status));
        return true;
      }
      await delay(TRY_AGAIN_AFTER_MS);
    }
    return false;
  }

  async check(record: VerificationRecord, id: string, code: string, isRight: boolean): Promise<CheckSeen['outcome']> {
    const ask: Ask = { method: 'POST', path: `/v1/verifications/${id}/check`, body: { code }, what: 'check' };
    const reply = await this.call(ask);
    const outcome = outcomeOf(reply);
    const left = reply.kind === 'answered' ? reply.body['attempts_left'] : undefined;
    record.checks.push({
      ...momentOf(reply),
      isRight,
      outcome,
      attemptsLeft: typeof left === 'number' ? left : undefined,
    });
    return outcome;
  }

  async startAgainst(record: LimitRecord, purpose: string): Promise<void> {
    const body = { to: record.number, purpose };
    const reply = await this.call({ method: 'POST', path: '/v1/verifications', body, what: 'start' });
    if (reply.kind === 'answered' && reply.status === 201) record.acknowledgedAt.push(momentOf(reply));
    else if (reply.kind === 'answered' && reply.code === 'rate-limited') record.refused += 1;
    else if (isUnsure(reply)) record.unsureAt.push(momentOf(reply));
  }

  async guessAt(record: GuessRecord): Promise<void> {
    const body = { to: record.number, code: String(randomInt(1_000_000)).padStart(6, '0') };
    const reply = await this.call({ method: 'POST', path: '/v1/check', body, what: 'guess' });
    if (reply.kind === 'answered' && reply.code === 'code-wrong') record.comparedAt.push(momentOf(reply));
    else if (reply.kind === 'answered' && reply.code === 'number-locked') record.isLocked = true;
    else if (isUnsure(reply)) record.unsureAt.push(momentOf(reply));
  }

  /** Asks one node after the other until one is there that listens, as a load balancer does. */
  async call(ask: Ask, mayWait = false): Promise<Reply> {
    const count = this.#installation.nodes.length;
    const first = randomInt(count);
    for (let skipped = 0; ; skipped += 1) {
      const reply = await this.#installation.call((first + skipped) % count, ask);
      this.replies.push(seen(reply, mayWait));
      if (reply.kind !== 'refused' || skipped === count - 1) return reply;
    }
  }

  /** What the person has read last who has that number. */
  #codeFor(number: string): string | undefined {
    return this.#installation.handOversTo(number).at(-1)?.code;
  }
}

/** The request behind a record, to be asked once more when all is over. */
export const keyedAsks = new WeakMap<VerificationRecord | TextRecord, Ask>();

function newKeyed(number: string) {
  return {
    number,
    ids: new Set<string>(),
    acknowledgedAt: [],
    refusals: [],
    unsureAt: [],
    handOvers: [],
    messages: [],
  };
}

function newVerification(number: string): VerificationRecord {
  const nothingYet = { code: undefined, state: undefined, attemptsLeft: undefined, again: undefined };
  return { kind: 'verification', ...newKeyed(number), checks: [], ...nothingYet };
}

export function isUnsure(reply: Reply): boolean {
  return reply.kind === 'cut' || reply.kind === 'hung' || (reply.kind === 'answered' && reply.status >= 500);
}

function momentOf({ at, ms }: Reply): Moment {
  return { sentAt: at, answeredAt: at + ms };
}

function outcomeOf(reply: Reply): CheckSeen['outcome'] {
  if (reply.kind !== 'answered') return reply.kind === 'refused' ? 'refused' : 'unsure';
  if (reply.status < 300) return 'approved';
  if (reply.status >= 500) return 'unsure';
  if (reply.code === 'code-wrong') return 'wrong';
  return reply.code === 'verification-unknown' ? 'unknown' : 'refused';
}

function seen(reply: Reply, mayWait: boolean): SeenReply {
  const { node, at, ms, what, kind } = reply;
  const isAnswered = reply.kind === 'answered';
  return {
    node,
    at,
    ms,
    what,
    kind,
    mayWait,
    status: isAnswered ? reply.status : undefined,
    code: isAnswered ? reply.code : undefined,
    retryAfterSeconds: isAnswered ? reply.retryAfterSeconds : undefined,
  };
}

/** As long as the right one, and another. */
export function wrongCode(right: string): string {
  return String((Number(right) + 1 + randomInt(999_998)) % 1_000_000).padStart(6, '0');
}
