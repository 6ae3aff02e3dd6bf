import fc from 'fast-check';
import { makeId } from '../../src/domain/id.ts';
import type { Dispatch, Message } from '../../src/domain/message.ts';
import type { DeliveryState, FailureReason } from '../../src/domain/provider.ts';
import type { Bucket, DispatchStep, Idempotency, StartStep, Store } from '../../src/domain/store.ts';
import { dayOf } from '../../src/domain/usage.ts';
import type { Verification } from '../../src/domain/verification.ts';
import {
  codeDigests,
  DAY,
  digestOf,
  dispatchOf,
  HOUR,
  MINUTE,
  messageOf,
  messageStep,
  phone,
  readable,
  resend,
  SECOND,
  startStep,
  T0,
  verificationOf,
  wrongDigest,
} from '../../src/testing/store-steps.ts';

// The same steps are taken by two stores, drawn from few numbers, subjects, addresses and keys, so that they meet.

const few = {
  number: fc.nat(1),
  subject: fc.nat(2),
  address: fc.nat(1),
  key: fc.nat(3),
  /** counted from the newest, which is meant most of the time: else nothing is ever tried often enough */
  any: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.nat(7) }),
  flag: fc.boolean(),
};
/** Mostly forward by a little, at times across a limit's window, and back as well: clocks are set. */
const jump = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0, max: 40 * SECOND }) },
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 12 * MINUTE }) },
  { weight: 1, arbitrary: fc.integer({ min: -5 * MINUTE, max: 0 }) },
  { weight: 1, arbitrary: fc.constantFrom(HOUR, DAY, 3 * DAY, 9 * DAY) },
);
const channel = fc.constantFrom('sms', 'whatsapp', 'email');
const provider = fc.constantFrom('acme', 'brim', 'verify');
const lane = fc.constantFrom('open', 'trusted');
const reportState = fc.constantFrom<DeliveryState>('unknown', 'queued', 'sent', 'delivered', 'undelivered', 'failed');
const reason = fc.constantFrom<FailureReason | undefined>(undefined, 'recipient', 'content', 'uncertain', 'throttled');
const cost = fc.constantFrom(undefined, { micros: 7900, currency: 'USD' }, { micros: 90, currency: 'UZS' });

const sends = {
  limit: fc.constantFrom(undefined, 1, 3, 120),
  address: few.address,
  budget: fc.constantFrom(undefined, 30_000),
  key: fc.option(few.key, { nil: undefined }),
};

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      does: fc.constant('start' as const),
      number: few.number,
      subject: few.subject,
      purpose: fc.constantFrom('login', 'pay'),
      lane,
      channel,
      repeat: few.flag,
      keep: fc.constantFrom(false, false, true),
      ownCode: fc.constantFrom(undefined, undefined, 'a', 'b'),
      hasEmail: fc.constantFrom(undefined, 'mail', 'number'),
      ...sends,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ does: fc.constant('resend' as const), at: few.any, channel, replace: few.flag, ...sends }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      does: fc.constant('check' as const),
      at: few.any,
      code: fc.constantFrom('right', 'wrong', 'wrong', 'wrong', 'of the slot'),
      codeLength: fc.constantFrom(6, 6, 6, 6, 5),
      purpose: fc.constantFrom(undefined, undefined, 'login'),
      subject: fc.constantFrom(undefined, undefined, 's1'),
      limit: fc.constantFrom(undefined, undefined, 4),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      does: fc.constant('check slot' as const),
      at: few.any,
      code: fc.constantFrom('right', 'wrong', 'wrong'),
      number: fc.option(few.number, { nil: undefined }),
      subject: few.subject,
      purpose: fc.constantFrom('login', 'pay'),
      lane,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      does: fc.constant('settle' as const),
      at: few.any,
      verdict: fc.constantFrom('approved', 'wrong', 'wrong', 'unanswered', 'unanswered'),
      isOld: fc.constantFrom(false, false, true),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      does: fc.constantFrom('approve' as const, 'cancel' as const, 'email' as const),
      at: few.any,
    }),
  },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('message' as const), number: few.number, ...sends }) },
  {
    weight: 7,
    arbitrary: fc.record({
      does: fc.constant('dispatch' as const),
      at: few.any,
      dispatches: fc.array(
        fc.record({ provider, state: reportState, id: fc.option(few.any, { nil: undefined }), reason, cost }),
        { maxLength: 2 },
      ),
      state: fc.option(reportState, { nil: undefined }),
      due: fc.option(fc.integer({ min: 0, max: MINUTE }), { nil: undefined }),
      noReports: fc.constantFrom(undefined, undefined, true as const),
      carried: fc.constantFrom(undefined, 'ours', 'theirs'),
      channel,
      spent: fc.option(fc.integer({ min: -8000, max: 8000 }), { nil: undefined }),
      key: fc.option(few.key, { nil: undefined }),
    }),
  },
  {
    weight: 7,
    arbitrary: fc.record({
      does: fc.constant('report' as const),
      provider,
      id: few.any,
      state: reportState,
      reason,
      code: fc.constantFrom(undefined, '21610'),
      cost: fc.constantFrom(
        undefined,
        undefined,
        { micros: 8100.4, currency: 'USD' },
        { micros: -1, currency: 'USD' },
        { micros: 5, currency: 'EUR' },
      ),
      optOut: fc.constantFrom(undefined, undefined, true as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ does: fc.constant('claim' as const), lease: fc.integer({ min: 0, max: MINUTE }) }),
  },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('budget' as const), micros: fc.nat(20_000) }) },
  { weight: 2, arbitrary: fc.record({ does: fc.constant('sign in' as const), at: few.any, number: few.number }) },
  {
    weight: 1,
    arbitrary: fc.record({ does: fc.constantFrom('erase' as const, 'erase user' as const), number: few.number }),
  },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('sweep' as const) }) },
);

/** Few, so that numbers are locked now and then. */
const guesses = { max: 6, windowMs: DAY };

export const sequences = fc.array(fc.tuple(jump, step), { minLength: 30, maxLength: 90, size: 'max' });
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

/** One app's life in both stores: what each step came to in one and in the other. */
export class Twins {
  readonly #app: string;
  readonly #verifications: Verification[] = [];
  readonly #messages: Message[] = [];
  #now = T0;
  #made = 0;

  constructor(app: string) {
    this.#app = app;
  }

  /** @returns the outcomes, of the first store and of the second */
  async take(stores: readonly [Store, Store], jumpMs: number, step: Step): Promise<readonly [unknown, unknown]> {
    this.#now += jumpMs;
    const call = this.#callOf(step);
    const [first, second] = [await call(stores[0]), await call(stores[1])];
    this.#learn(first);
    return [plain(first), plain(second)];
  }

  /** Everything that can be asked for, after all steps. */
  async remains(store: Store): Promise<unknown> {
    const app = this.#app;
    const verifications = await Promise.all(this.#verifications.map(({ id }) => store.getVerification(app, id)));
    const slots = [0, 1].flatMap((number) =>
      [0, 1, 2].map((subject) =>
        store.findVerification({ app, purpose: 'login', subject: subjectOf(subject), number: phone(number) }),
      ),
    );
    // What is due stays away from the next app's claims.
    const due = await store.claimDue(this.#now + 30 * DAY, T0 + 9999 * DAY, 10_000);
    return plain({
      verifications: verifications.map(readable),
      slots: (await Promise.all(slots)).map(readable),
      messages: await Promise.all(this.#messages.map(({ id }) => store.getMessage(app, id))),
      listed: await store.listMessages(app, { limit: 7, carries: 'code' }),
      usage: await store.readUsage({ app, from: '2000-01-01', to: '2100-01-01' }),
      answers: await Promise.all([0, 1, 2, 3].map((key) => store.getAnswer(app, `K${key}`))),
      spent: await store.takeBudget(app, { day: dayOf(this.#now), micros: 0, maxMicros: Number.MAX_SAFE_INTEGER }),
      due: dueOf(app, due),
      user: await store.getUser(app, '1'),
    });
  }

  #learn(outcome: unknown): void {
    const { verification, kind } = (outcome ?? {}) as { verification?: Verification; kind?: string };
    if (verification === undefined || (kind !== 'started' && kind !== 'resent')) return;
    const known = this.#verifications.findIndex(({ id }) => id === verification.id);
    if (known === -1) this.#verifications.push(verification);
    else this.#verifications[known] = verification;
  }

  #id(prefix: 'ver' | 'msg'): string {
    this.#made += 1;
    const random = Buffer.alloc(10);
    random.writeUInt32BE(this.#made, 0);
    random.write(this.#app, 4);
    return makeId(prefix, this.#now, random);
  }

  #verification(at: number): Verification {
    const found = this.#verifications.at(-1 - (at % Math.max(1, this.#verifications.length)));
    return found ?? verificationOf({ app: this.#app });
  }

  #message(at: number): Message {
    const message = this.#messages.at(-1 - (at % Math.max(1, this.#messages.length)));
    return message ?? messageOf(undefined, { app: this.#app, id: this.#id('msg'), createdAt: this.#now });
  }

  #keyOf(key: number | undefined): Idempotency | undefined {
    if (key === undefined) return undefined;
    return { key: `K${key}`, fingerprint: `F${key % 2}`, expiresAt: this.#now + 2 * HOUR };
  }

  #sendingOf(
    {
      limit,
      address,
      budget,
      key,
    }: { limit: number | undefined; address: number; budget: number | undefined; key: number | undefined },
    number: number,
  ) {
    const rules =
      limit === undefined
        ? []
        : [
            { max: limit, windowMs: 5 * MINUTE },
            { max: limit * 3, windowMs: DAY },
          ];
    const buckets: Bucket[] =
      limit === undefined
        ? []
        : [
            { scope: 'app', value: '', rules: [{ max: 130, windowMs: HOUR }] },
            { scope: 'number', value: phone(number), rules },
            { scope: 'address', value: `198.51.100.${address}`, rules },
            { scope: 'named', value: `v${address}`, rules: [{ max: 2, windowMs: HOUR }], name: 'mine' },
          ];
    const take = budget === undefined ? undefined : { day: dayOf(this.#now), maxMicros: budget, micros: 7000 };
    return { buckets, guesses, budget: take, idempotency: this.#keyOf(key) };
  }

  #messageFor(given: Partial<Message>): Message {
    const message = messageOf(undefined, {
      id: this.#id('msg'),
      app: this.#app,
      createdAt: this.#now,
      sealedText: undefined,
      ...given,
    });
    this.#messages.push(message);
    return message;
  }

  #callOf(step: Step): (store: Store) => Promise<unknown> {
    const [app, now] = [this.#app, this.#now];
    switch (step.does) {
      case 'start': {
        const wanted = this.#wanted(step);
        const message = this.#messageFor({ verificationId: wanted.id, number: wanted.number });
        const given = {
          ...startStep(wanted, { now, message }),
          repeat: step.repeat,
          keep: step.keep,
          ...this.#sendingOf(step, step.number),
        };
        return (store) => startFully(store, given, step.ownCode);
      }
      case 'resend': {
        const v = this.#verification(step.at);
        const message = this.#messageFor({ verificationId: v.id, number: v.number });
        const codeNumber = v.codeNumber + 1;
        const code = step.replace
          ? { replaces: v.codeNumber, codeNumber, digests: codeDigests(v.id, codeNumber) }
          : undefined;
        const number = v.number === phone(0) ? 0 : 1;
        return (store) =>
          resend(store, v, now, {
            channel: step.channel,
            message,
            code,
            delaysSeconds: [3, 3, 9],
            ...this.#sendingOf(step, number),
          });
      }
      case 'check': {
        const v = this.#verification(step.at);
        const digest = { right: v.digests.byId, 'of the slot': v.digests.bySlot, wrong: wrongDigest }[step.code];
        const { codeLength, purpose, subject, limit } = step;
        const rules = limit === undefined ? [] : [{ max: limit, windowMs: HOUR }];
        const buckets: Bucket[] = limit === undefined ? [] : [{ scope: 'guesses', value: 'a', rules }];
        const given = { now, app, guesses, buckets, by: 'id', id: v.id, codeLength, purpose, subject } as const;
        return (store) => store.check({ ...given, digest: digest ?? wrongDigest });
      }
      case 'check slot': {
        const digest = step.code === 'right' ? this.#verification(step.at).digests.bySlot : wrongDigest;
        const number = step.number === undefined ? undefined : phone(step.number);
        const subject = number === undefined ? (subjectOf(step.subject) ?? 's1') : subjectOf(step.subject);
        const { purpose, lane: inLane } = step;
        const given = { now, app, guesses, buckets: [], by: 'slot', purpose, subject, number, lane: inLane } as const;
        return (store) => store.check({ ...given, digest });
      }
      case 'settle': {
        const { id, codeNumber } = this.#verification(step.at);
        const { verdict } = step;
        return (store) =>
          store.settleCheck({
            now,
            app,
            id,
            guesses,
            codeNumber: codeNumber + (step.isOld ? 1 : 0),
            verdict,
          });
      }
      case 'approve':
        return (store) => store.approve(app, this.#verification(step.at).id, now);
      case 'cancel':
        return (store) => store.cancel(app, this.#verification(step.at).id, now);
      case 'email':
        return (store) => store.recordEmail(app, this.#verification(step.at).id, now);
      case 'message': {
        const message = this.#messageFor({ number: phone(step.number), sealedText: digestOf('text') });
        return (store) => store.addMessage({ ...messageStep({ now, message }), ...this.#sendingOf(step, step.number) });
      }
      case 'dispatch': {
        const given = this.#dispatchStepOf(step);
        return (store) => store.recordDispatch(given);
      }
      case 'report': {
        const { state, code, optOut } = step;
        const report = {
          providerMessageId: `${app} ${step.id}`,
          state,
          ...(step.reason && { reason: step.reason }),
          ...(code && { code }),
          ...(step.cost && { cost: step.cost }),
          ...(optOut && { optOut }),
        };
        return (store) => store.recordReport(step.provider, report, now);
      }
      case 'claim':
        return async (store) => dueOf(app, await store.claimDue(now, now + step.lease, 10_000));
      case 'budget':
        return (store) => store.takeBudget(app, { day: dayOf(now), maxMicros: 60_000, micros: step.micros });
      case 'sign in': {
        this.#made += 1;
        const token = { hash: `${app} ${this.#made}`, expiresAt: now + HOUR };
        const verificationId = this.#verification(step.at).id;
        return async (store) => [
          await store.signIn({ now, app, verificationId, number: phone(step.number), name: 'Ada', token }),
          await store.findUserByToken(token.hash, now),
        ];
      }
      case 'erase':
        return (store) => eraseFully(store, app, step.number);
      case 'erase user':
        return (store) => store.eraseUser(app, phone(step.number));
      case 'sweep':
        // How much goes at a time is each store's own.
        return async (store) => void (await store.sweep(now, T0 - 40 * DAY));
    }
  }

  #wanted(step: Extract<Step, { does: 'start' }>): Verification {
    const id = this.#id('ver');
    const number = phone(step.number);
    const digests =
      step.ownCode === undefined
        ? codeDigests(id, 0)
        : { byId: digestOf(`${id} ${step.ownCode}`), bySlot: digestOf(`slot ${step.ownCode}`) };
    return verificationOf({
      id,
      app: this.#app,
      createdAt: this.#now,
      number,
      digests,
      purpose: step.purpose,
      subject: subjectOf(step.subject),
      lane: step.lane,
      channel: step.channel,
      sentByEmail: step.channel === 'email',
      email: step.hasEmail === undefined ? undefined : step.hasEmail === 'mail' ? 'ada@example.com' : number,
      sealedCode: step.ownCode === undefined ? undefined : digestOf(`sealed ${step.ownCode}`),
      maxAttempts: 3,
      resendAt: this.#now + 3 * SECOND,
      metadata: { order: 'ü "1"' },
    });
  }

  #dispatchStepOf(step: Extract<Step, { does: 'dispatch' }>): DispatchStep {
    const message = this.#message(step.at);
    const now = this.#now;
    const dispatches = step.dispatches.map(
      ({ provider: name, state, id, reason: why, cost: estimatedCost }): Dispatch =>
        dispatchOf({
          provider: name,
          state,
          providerMessageId: id === undefined ? undefined : `${this.#app} ${id}`,
          reason: why,
          estimatedCost,
          at: now,
          channel: step.channel,
        }),
    );
    const managed = step.carried === 'theirs' ? { provider: 'verify', providerMessageId: 'VE1' } : undefined;
    return {
      now,
      message,
      dispatches,
      state: step.state,
      dueAt: step.due === undefined ? undefined : now + step.due,
      carried: step.carried === undefined ? undefined : { channel: step.channel, managed },
      spent: step.spent === undefined ? undefined : { day: dayOf(now), micros: step.spent },
      answer: step.key === undefined ? undefined : { app: this.#app, key: `K${step.key}`, text: '{"ok":true}' },
      ...(step.noReports && { noReports: step.noReports }),
    };
  }
}

/** As the service does it: a code of the caller's own for a verification that is repeated is bound to that one's id. */
async function startFully(store: Store, step: StartStep, ownCode: string | undefined): Promise<unknown> {
  const outcome = await store.start(step);
  if (outcome.kind !== 'changed') return outcome;
  const { id } = outcome;
  const digests = { byId: digestOf(`${id} ${ownCode}`), bySlot: step.verification.digests.bySlot };
  return [outcome, await store.start({ ...step, recode: { id, digests, sealedCode: digestOf('sealed') } })];
}

async function eraseFully(store: Store, app: string, number: number): Promise<void> {
  let resumeAt: string | undefined;
  do {
    ({ resumeAt } = await store.eraseHistory({ app, number: phone(number), answer: '{}', resumeAt }));
  } while (resumeAt !== undefined);
}

function subjectOf(index: number): string | undefined {
  return index === 0 ? undefined : `s${index}`;
}

function dueOf(app: string, due: Awaited<ReturnType<Store['claimDue']>>): unknown {
  const ours = due.filter(({ message }) => message.app === app);
  return ours
    .map(({ message, claims, verification }) => ({ message, claims, verification: readable(verification) }))
    .sort((a, b) => (a.message.id < b.message.id ? -1 : 1));
}

/** Without the classes of bytes, and without what is undefined. */
function plain(value: unknown): unknown {
  if (value === undefined) return null;
  return JSON.parse(
    JSON.stringify(value, (_key, each: unknown) => {
      if (each instanceof Uint8Array) return Buffer.from(each).toString('hex');
      const bytes = each as { type?: unknown; data?: unknown } | null;
      return bytes !== null && typeof bytes === 'object' && bytes.type === 'Buffer'
        ? Buffer.from(bytes.data as number[]).toString('hex')
        : each;
    }),
  );
}
