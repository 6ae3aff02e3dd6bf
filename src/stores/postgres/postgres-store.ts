import { firstIdAt } from '../../domain/id.ts';
import type { Message } from '../../domain/message.ts';
import { believable } from '../../domain/price.ts';
import { IDEMPOTENCY_TTL_MS, LONGEST_MEMORY_MS, USAGE_KEPT_MS } from '../../domain/retention.ts';
import type {
  Bucket,
  BudgetTaken,
  CheckStep,
  Due,
  ResendOutcome,
  SignInOutcome,
  StartOutcome,
  Store,
} from '../../domain/store.ts';
import { dayOf } from '../../domain/usage.ts';
import { isUserId } from '../../domain/user.ts';
import type { Verification } from '../../domain/verification.ts';
import { checkOutcomeOf, digestsOf, messageOf, outcomeOf, type VerificationAnswer } from '../outcomes.ts';
import {
  bytesToHex,
  type MessageRecord,
  messageToRecord,
  recordToVerification,
  type VerificationRecord,
  verificationToRecord,
} from '../records.ts';
import { Database, type DatabaseOptions } from './database.ts';
import { toSqlJson, withoutEscapes } from './json.ts';
import { midnightBefore, Partitions } from './partitions.ts';
import { type LiveIn, Presence } from './presence.ts';
import {
  type ApiKeyRow,
  apiKeyOf,
  type BreakerRow,
  breakerOf,
  optionalUser,
  type ResourceRow,
  resourceOf,
  type SigningKeyRow,
  signingKeyOf,
  type UsageRow,
  type UserRow,
  usageOf,
  userOf,
} from './rows.ts';
import { prepareSchema, readSchema } from './schema.ts';
import { shadowEntryOf, shadowRecordOf } from './shadow-rows.ts';
import { Steps } from './steps.ts';

/** Sorts after every id. */
const LAST = '~';

/**
 * The store of any number of nodes: each step is one function of the database, in one round trip.
 * @throws CountersignError `store-unavailable`, or `store-incompatible` for a server or schema that this version cannot work with
 */
export async function openPostgresStore({
  liveIn = 'postgresql',
  ...options
}: PostgresStoreOptions): Promise<PostgresStore> {
  const database = await Database.open(options);
  try {
    const schema = readSchema();
    await prepareSchema(database, schema);
    const steps = new Steps(database, schema.stepsSchema);
    return new PostgresStore(database, steps, await Presence.open(steps, liveIn, options.log));
  } catch (error) {
    await database.close();
    throw error;
  }
}

export type PostgresStoreOptions = DatabaseOptions & {
  /** where this node has what is live: here, unless Redis is in front */
  readonly liveIn?: LiveIn;
};

type BudgetAnswer = { readonly budget?: BudgetTaken };

export class PostgresStore implements Store {
  /** for what stands in front of PostgreSQL, and moves its history here */
  readonly database: Database;
  readonly partitions: Partitions;
  readonly presence: Presence;
  readonly #steps: Steps;
  #cursors: object = {};

  constructor(database: Database, steps: Steps, presence: Presence) {
    this.presence = presence;
    this.database = database;
    this.#steps = steps;
    this.partitions = new Partitions(database, steps);
  }

  /** as `database` is */
  get steps(): Steps {
    return this.#steps;
  }

  start: Store['start'] = async (step) => {
    const wanted = step.verification;
    const given = {
      now: step.now,
      verification: verificationToRecord(wanted),
      message: keptMessageOf(step.message),
      buckets: bucketsOf(wanted.app, step.buckets, true),
      guesses: step.guesses,
      repeat: step.repeat,
      keep: step.keep,
      recode:
        step.recode === undefined
          ? null
          : {
              id: step.recode.id,
              ...digestsOf(step.recode.digests),
              sealed_code: bytesToHex(step.recode.sealedCode),
            },
      delays: delaysOf(step.delaysSeconds),
      budget: step.budget ?? null,
      idempotency: step.idempotency ?? null,
      orphanedAt: step.orphanedAt,
    };
    const ids = [wanted.id, step.message.id];
    const outcome = (await this.#runWithRoom('start', given, ids)) as VerificationAnswer & BudgetAnswer;
    if (outcome.kind !== 'started') return refusalOf(outcome) as StartOutcome;
    const verification =
      outcome.verification === undefined
        ? { ...wanted, messageIds: [step.message.id] }
        : recordToVerification(outcome.verification);
    return { kind: 'started', verification, ...budgetOf(outcome) };
  };

  resend: Store['resend'] = async (step) => {
    const given = {
      now: step.now,
      app: step.app,
      id: step.id,
      channel: step.channel,
      message: keptMessageOf(step.message),
      buckets: bucketsOf(step.app, step.buckets, true),
      guesses: step.guesses,
      delays: delaysOf(step.delaysSeconds),
      code:
        step.code === undefined
          ? null
          : {
              replaces: step.code.replaces,
              codeNumber: step.code.codeNumber,
              ...digestsOf(step.code.digests),
            },
      budget: step.budget ?? null,
      ending: step.ending === undefined ? null : JSON.stringify(step.ending),
      idempotency: step.idempotency ?? null,
      orphanedAt: step.orphanedAt,
    };
    const outcome = (await this.#runWithRoom('resend', given, [step.message.id])) as VerificationAnswer & BudgetAnswer;
    if (outcome.kind !== 'resent') return refusalOf(outcome) as ResendOutcome;
    return { kind: 'resent', verification: verificationIn(outcome), ...budgetOf(outcome) };
  };

  check: Store['check'] = async (step) => {
    const outcome = await this.#steps.runShared('check', checkOf(step));
    return checkOutcomeOf(outcome as VerificationAnswer);
  };

  settleCheck: Store['settleCheck'] = async (step) => {
    const outcome = checkOutcomeOf((await this.#steps.run('settle_check', step)) as VerificationAnswer);
    return outcome as Awaited<ReturnType<Store['settleCheck']>>;
  };

  approve: Store['approve'] = async (app, id, now) => {
    const outcome = (await this.#steps.run('approve', { app, id, now })) as VerificationAnswer;
    return outcomeOf(outcome) as Awaited<ReturnType<Store['approve']>>;
  };

  cancel: Store['cancel'] = async (app, id, now) => {
    const outcome = (await this.#steps.run('cancel', { app, id, now })) as VerificationAnswer;
    return outcomeOf(outcome) as Awaited<ReturnType<Store['cancel']>>;
  };

  getVerification: Store['getVerification'] = async (app, id) =>
    optionalVerification(await this.#steps.run('get_verification', { app, id }));

  findVerification: Store['findVerification'] = async ({ app, purpose, subject, number }) =>
    optionalVerification(
      await this.#steps.run('find_verification', { app, purpose, subject: subject ?? null, number }),
    );

  addMessage: Store['addMessage'] = async (step) => {
    const given = {
      now: step.now,
      message: keptMessageOf(step.message),
      buckets: bucketsOf(step.message.app, step.buckets, false),
      budget: step.budget ?? null,
      idempotency: step.idempotency ?? null,
      orphanedAt: step.orphanedAt,
    };
    const outcome = (await this.#runWithRoom('add_message', given, [step.message.id])) as VerificationAnswer;
    return refusalOf(outcome) as Awaited<ReturnType<Store['addMessage']>>;
  };

  recordDispatch: Store['recordDispatch'] = async (step) => {
    const { id, app, country, verificationId, codeNumber, validUntil } = step.message;
    await this.#steps.runShared('record_dispatch', {
      now: step.now,
      message: {
        id,
        app,
        country: country ?? null,
        verification_id: verificationId ?? null,
        code_number: codeNumber,
        valid_until: validUntil,
      },
      dispatches: step.dispatches,
      state: step.state ?? null,
      dueAt: step.dueAt ?? null,
      noReports: step.noReports,
      carried: step.carried,
      spent: step.spent,
      answer: step.answer,
      isRepeated: step.isRepeated,
    });
  };

  recordEmail: Store['recordEmail'] = async (app, verificationId) => {
    await this.#steps.run('record_email', { app, id: verificationId });
  };

  recordReport: Store['recordReport'] = async (provider, report, now) => {
    // What no message can cost is looked at here; the step takes it as it comes.
    const believed = { ...report, cost: believable(report.cost) };
    const outcome = await this.#steps.runShared('record_report', { now, provider, report: believed });
    return outcome as Awaited<ReturnType<Store['recordReport']>>;
  };

  getMessage: Store['getMessage'] = async (app, id) => {
    const record = (await this.#steps.run('get_message', { app, id })) as MessageRecord | null;
    return record === null ? undefined : messageOf(record);
  };

  listMessages: Store['listMessages'] = async (app, query) => {
    const { limit, before = LAST, after = '', number, verificationId, carries } = query;
    const records = await this.#steps.run('list_messages', {
      app,
      limit,
      before,
      after,
      number: number ?? null,
      verificationId: verificationId ?? null,
      isCode: carries === undefined ? null : carries === 'code',
    });
    return listOf<MessageRecord>(records).map(messageOf);
  };

  claimDue: Store['claimDue'] = async (now, leaseUntil, limit) => {
    type Claimed = { message: MessageRecord; claims: number; verification: VerificationRecord | null };
    const claimed = listOf<Claimed>(await this.#steps.run('claim_due', { now, leaseUntil, limit }));
    return claimed.map(
      ({ message, claims, verification }): Due => ({
        message: messageOf(message),
        claims,
        verification: optionalVerification(verification),
      }),
    );
  };

  getAnswer: Store['getAnswer'] = async (app, key) =>
    ((await this.#steps.run('get_answer', { app, key })) as string | null) ?? undefined;

  takeBudget: Store['takeBudget'] = async (app, take) =>
    (await this.#steps.run('take_budget', { app, take })) as Awaited<ReturnType<Store['takeBudget']>>;

  readUsage: Store['readUsage'] = async ({ app, from, to }) => {
    const rows = await this.#steps.run('read_usage', { app: app ?? null, from, to });
    return listOf<UsageRow>(rows).map(usageOf);
  };

  signIn: Store['signIn'] = async (step) => {
    const outcome = (await this.#steps.run('sign_in', step)) as
      | { kind: 'unproven' }
      | { kind: 'signed-in'; user: UserRow; isNew: boolean };
    return (outcome.kind === 'unproven' ? outcome : { ...outcome, user: userOf(outcome.user) }) satisfies SignInOutcome;
  };

  findUserByToken: Store['findUserByToken'] = async (hash, now) =>
    optionalUser(await this.#steps.run('find_user_by_token', { hash, now }));
  getUser: Store['getUser'] = async (app, id) =>
    isUserId(id) ? optionalUser(await this.#steps.run('get_user', { app, id })) : undefined;
  updateUser: Store['updateUser'] = async (app, id, { name, fullName }) => {
    if (!isUserId(id)) return undefined;
    const given = { app, id, name: name ?? null, fullName: fullName ?? null };
    return optionalUser(await this.#steps.run('update_user', given));
  };
  revokeToken: Store['revokeToken'] = async (hash, now) =>
    (await this.#steps.run('revoke_token', { hash, now })) === true;
  revokeTokens: Store['revokeTokens'] = async (app, id) =>
    isUserId(id) && (await this.#steps.run('revoke_tokens', { app, id })) === true;

  eraseHistory: Store['eraseHistory'] = async ({ app, number, answer, resumeAt }) => {
    // First what is pending ends, in a transaction of its own, which is short.
    const given = { app, number, answer, keyTtlMs: IDEMPOTENCY_TTL_MS };
    const from = resumeAt ?? (await this.#steps.run('erase_history', { ...given, resumeAt: null }));
    const next = await this.#steps.run('erase_history', { ...given, resumeAt: from });
    return { resumeAt: (next as string | null) ?? undefined };
  };
  eraseUser: Store['eraseUser'] = async (app, number) => {
    await this.#steps.run('erase_user', { app, number });
  };

  addResource: Store['addResource'] = async (resource, most) => {
    const { app, kind, id, parent = '', uniqueKey = null, createdAt, updatedAt } = resource;
    const body = toSqlJson(resource.body);
    const row = { app, kind, id, parent, unique_key: uniqueKey, body, created_at: createdAt, updated_at: updatedAt };
    const outcome = await this.#steps.run('add_resource', { resource: row, most: most ?? null });
    return outcome as Awaited<ReturnType<Store['addResource']>>;
  };
  getResource: Store['getResource'] = async (app, kind, id) => {
    const row = (await this.#steps.run('get_resource', { app, kind, id })) as ResourceRow | null;
    return row === null ? undefined : resourceOf(row);
  };
  listResources: Store['listResources'] = async ({ app, kind, parent, limit, after }) => {
    // What is no cursor of ours begins nowhere: the first page again would have a caller walk in circles.
    const position = after === undefined ? 0 : /^\d{1,15}$/.test(after) ? Number(after) : Number.MAX_SAFE_INTEGER;
    // One more than asked for says whether there is a next page.
    const given = { app, kind, parent: parent ?? null, position, limit: limit + 1 };
    const rows = listOf<ResourceRow>(await this.#steps.run('list_resources', given));
    const page = rows.slice(0, limit);
    const next = rows.length > limit ? page.at(-1)?.position : undefined;
    return { resources: page.map(resourceOf), next: next === undefined ? undefined : String(next) };
  };
  updateResource: Store['updateResource'] = async ({ app, kind, id, now, body, uniqueKey }) => {
    const given = { app, kind, id, now, body: toSqlJson(body), uniqueKey: uniqueKey ?? null };
    const outcome = (await this.#steps.run('update_resource', given)) as
      | { kind: 'updated'; resource: ResourceRow }
      | { kind: 'unknown' | 'exists' };
    return outcome.kind === 'updated' ? { kind: 'updated', resource: resourceOf(outcome.resource) } : outcome;
  };
  removeResource: Store['removeResource'] = async (app, kind, id) =>
    (await this.#steps.run('remove_resource', { app, kind, id })) === true;

  recordShadow: Store['recordShadow'] = async (entry) => {
    await this.#steps.run('record_shadow', shadowRecordOf(entry));
  };
  readShadow: Store['readShadow'] = async ({ app, from, to }) =>
    listOf<Parameters<typeof shadowEntryOf>[0]>(
      await this.#steps.run('read_shadow', { app: app ?? null, from, to }),
    ).map(shadowEntryOf);

  addApiKey: Store['addApiKey'] = async ({ id, app, name, hash, createdAt, revokedAt }) => {
    await this.#steps.run('add_api_key', {
      id,
      app,
      name,
      hash,
      created_at: createdAt,
      revoked_at: revokedAt ?? null,
    });
  };
  findApiKey: Store['findApiKey'] = async (hash) => {
    const row = (await this.#steps.run('find_api_key', { hash })) as ApiKeyRow | null;
    return row === null ? undefined : apiKeyOf(row);
  };
  listApiKeys: Store['listApiKeys'] = async () =>
    listOf<ApiKeyRow>(await this.#steps.run('list_api_keys', {})).map(apiKeyOf);
  revokeApiKey: Store['revokeApiKey'] = async (id, now) =>
    (await this.#steps.run('revoke_api_key', { id, now })) !== null;
  listSigningKeys: Store['listSigningKeys'] = async () =>
    listOf<SigningKeyRow>(await this.#steps.run('list_signing_keys', {})).map(signingKeyOf);
  addSigningKey: Store['addSigningKey'] = async ({ id, sealedPrivateKey, publicJwk, createdAt }, onlyFirst) => {
    await this.#steps.run('add_signing_key', {
      onlyFirst,
      key: {
        id,
        sealed_private_key: bytesToHex(sealedPrivateKey),
        public_jwk: publicJwk,
        created_at: createdAt,
      },
    });
  };

  sweep: Store['sweep'] = async (now, historyBefore) => {
    await this.partitions.ensureAhead(now);
    // A day that cannot be dropped (somebody's view is on it) keeps nothing else from being deleted.
    const dropping = await this.partitions.dropBefore(historyBefore).catch((error: unknown) => ({ error }));
    const firstKept = midnightBefore(historyBefore);
    const outcome = (await this.#steps.run('sweep', {
      now,
      longAgo: now - LONGEST_MEMORY_MS,
      oldestThatCounts: firstIdAt('ver', now - LONGEST_MEMORY_MS),
      verificationsBefore: firstIdAt('ver', firstKept),
      messagesBefore: firstIdAt('msg', firstKept),
      historyDay: dayOf(historyBefore),
      usageDay: dayOf(now - USAGE_KEPT_MS),
      budgetDay: dayOf(now - LONGEST_MEMORY_MS),
      cursors: this.#cursors,
    })) as { deleted: number; cursors: object };
    this.#cursors = outcome.cursors;
    if (typeof dropping !== 'number') throw dropping.error;
    return { deleted: outcome.deleted + dropping };
  };

  lease: Store['lease'] = async (name, holder, now, until) =>
    (await this.#steps.run('lease', { name, holder, now, until })) === true;
  shareBreaker: Store['shareBreaker'] = async (shared) => {
    await this.#steps.run('share_breaker', shared);
  };
  listBreakers: Store['listBreakers'] = async () =>
    listOf<BreakerRow>(await this.#steps.run('list_breakers', {})).map(breakerOf);
  clock: () => Promise<number> = async () => (await this.#steps.run('clock', {})) as number;
  probe: Store['probe'] = async (now) => {
    await this.#steps.run('probe', { now });
  };
  close: Store['close'] = async () => {
    await this.presence.close();
    await this.database.close();
  };

  #runWithRoom(name: 'start' | 'resend' | 'add_message', step: object, ids: readonly string[]): Promise<unknown> {
    return this.#steps.runShared(name, step, () => this.partitions.ensureDaysOf(ids));
  }
}

/**
 * Buckets in the order of their keys, which is the order of their locks.
 * @param ofNumber is the number's own bucket kept with its other counters?
 */
function bucketsOf(app: string, buckets: readonly Bucket[], ofNumber: boolean): object[] {
  return buckets
    .map(({ scope, value, rules, name }, place) => ({
      key: `${app} ${scope} ${value}`,
      place,
      scope,
      rules: `{${rules.map(({ max, windowMs }) => `${max},${windowMs}`).join(',')}}`,
      name,
      ...(ofNumber && scope === 'number' ? { ofNumber } : {}),
    }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** As PostgreSQL writes an array. */
function delaysOf(delaysSeconds: readonly number[]): string {
  return `{${delaysSeconds.map((seconds) => Math.round(seconds * 1000)).join(',')}}`;
}

function checkOf(step: CheckStep): object {
  const common = {
    now: step.now,
    app: step.app,
    guesses: step.guesses,
    buckets: bucketsOf(step.app, step.buckets, false),
    by: step.by,
    digest: bytesToHex(step.digest),
    purpose: step.purpose ?? null,
    subject: step.subject ?? null,
  };
  return step.by === 'id'
    ? { ...common, id: step.id, codeLength: step.codeLength }
    : { ...common, number: step.number ?? null, lane: step.lane };
}

function verificationIn({ kind, verification }: VerificationAnswer): Verification {
  if (verification === undefined) throw new Error(`a step answered ${kind} without a verification`);
  return recordToVerification(verification);
}

/** `answer` is undefined while the first request is under way, and JSON has no such value. */
function refusalOf(outcome: VerificationAnswer): object {
  return outcome.kind === 'replayed' ? { answer: undefined, ...outcome } : outcome;
}

function budgetOf({ budget }: BudgetAnswer): BudgetAnswer {
  return budget === undefined ? {} : { budget };
}

function optionalVerification(record: unknown): Verification | undefined {
  return record === null ? undefined : recordToVerification(record as VerificationRecord);
}

/** An aggregate over no row is null. */
function listOf<Row>(rows: unknown): readonly Row[] {
  return (rows as readonly Row[] | null) ?? [];
}

/** Steps look into the dispatches, which are JSON within JSON. */
function keptMessageOf(message: Message): MessageRecord {
  const record = messageToRecord(message);
  return { ...record, dispatches: withoutEscapes(record.dispatches) };
}
