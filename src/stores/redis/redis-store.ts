import { firstIdAt } from '../../domain/id.ts';
import { CountersignError } from '../../domain/problem.ts';
import type { Due, EraseStep, Store } from '../../domain/store.ts';
import type { Verification } from '../../domain/verification.ts';
import { messageOf } from '../outcomes.ts';
import { fromSqlJson } from '../postgres/json.ts';
import type { PostgresStore } from '../postgres/postgres-store.ts';
import { type MessageRecord, recordToVerification, type VerificationRecord } from '../records.ts';
import type { StoreLog } from '../store-log.ts';
import { ApiKeys } from './api-keys.ts';
import { ANSWER_DEADLINE_MS, Apps } from './apps.ts';
import { RedisClient } from './client.ts';
import { parseRedisUrl } from './connection.ts';
import { Home } from './home.ts';
import { refusedOf, SWEPT, sweptOf } from './keys.ts';
import { Reports } from './reports.ts';
import { checkServers } from './server-check.ts';
import { numberIn, readEntries } from './snapshots.ts';
import {
  checkGiven,
  checkOutcome,
  endingOutcome,
  MOST_ENTRIES,
  messageGiven,
  resendGiven,
  sendingOutcome,
  startGiven,
  takenOutcome,
} from './steps.ts';

export type RedisStoreOptions = {
  /** `redis://user:password@host:6379/0`; of a Cluster several of its nodes, with commas between them */
  readonly url: string;
  /** where everything ends up; closed with the store */
  readonly database: PostgresStore;
  readonly log: StoreLog;
  /** `MOST_ENTRIES` when undefined */
  readonly mostEntries?: number;
};

/**
 * The store of high rates: what lives minutes is in Redis, one script for each step, and goes from there into PostgreSQL,
 * which has whatever lives longer.
 * @throws CountersignError `store-unavailable`, or `store-incompatible` for a server that this version cannot work with
 */
export async function openRedisStore({ url, database, log, mostEntries }: RedisStoreOptions): Promise<Store> {
  const target = parseRedisUrl(url);
  const redis = await RedisClient.connect(target, await checkServers(target), log);
  try {
    const home = await Home.settle(redis, database.presence, log);
    return new RedisStore(redis, home, database, log, mostEntries ?? MOST_ENTRIES);
  } catch (error) {
    redis.close();
    throw error;
  }
}

/** Names of one erasing script: a fraction of a millisecond each. */
const NAMES_OF_ONE_SCRIPT = 200;
const REFUSED_AT_ONCE = 200;
const SWEPT_KEPT_MS = 40 * 86_400_000;
const PROBE_KEPT_MS = 60_000;

/** What a sweep left: older ones are as if they were not there, until Redis forgets them by itself. */
type Swept = { readonly now: number; readonly historyBefore: number };

type ClaimTerms = { readonly now: number; readonly leaseUntil: number; readonly limit: number };

/** As `claim-due.lua` gives it. */
type Claimed = {
  readonly due: readonly {
    readonly message: MessageRecord & { readonly claims: number };
    readonly verification?: VerificationRecord;
  }[];
  readonly absent: readonly string[];
};

class RedisStore implements Store {
  readonly #redis: RedisClient;
  readonly #postgres: PostgresStore;
  readonly #apps: Apps;
  readonly #reports: Reports;
  readonly #apiKeys: ApiKeys;
  readonly #mostEntries: number;
  readonly #log: StoreLog;
  #closing: Promise<void> | undefined;

  constructor(redis: RedisClient, home: Home, postgres: PostgresStore, log: StoreLog, mostEntries: number) {
    this.#mostEntries = mostEntries;
    this.#log = log;
    this.#redis = redis;
    this.#postgres = postgres;
    this.#apps = new Apps(redis, home, postgres, log);
    this.#reports = new Reports(redis, this.#apps, postgres);
    this.#apiKeys = new ApiKeys(redis, postgres);
    this.#apps.mover.start();
  }

  start: Store['start'] = (step) =>
    inTime(async () => {
      const given = startGiven(step, this.#mostEntries);
      return sendingOutcome(await this.#text('start', step.verification.app, given)) as Awaited<
        ReturnType<Store['start']>
      >;
    });

  resend: Store['resend'] = (step) =>
    inTime(async () => {
      return sendingOutcome(await this.#text('resend', step.app, resendGiven(step, this.#mostEntries))) as Awaited<
        ReturnType<Store['resend']>
      >;
    });

  check: Store['check'] = (step) =>
    inTime(async () => checkOutcome(await this.#text('check', step.app, checkGiven(step, this.#mostEntries))));

  settleCheck: Store['settleCheck'] = (step) =>
    inTime(
      async () =>
        checkOutcome(await this.#text('settle-check', step.app, step)) as Awaited<ReturnType<Store['settleCheck']>>,
    );

  approve: Store['approve'] = (app, id, now) =>
    inTime(
      async () => endingOutcome(await this.#text('approve', app, { now, id })) as Awaited<ReturnType<Store['approve']>>,
    );

  cancel: Store['cancel'] = (app, id, now) =>
    inTime(
      async () => endingOutcome(await this.#text('cancel', app, { now, id })) as Awaited<ReturnType<Store['cancel']>>,
    );

  getVerification: Store['getVerification'] = (app, id) => inTime(() => this.#verification(app, id));

  findVerification: Store['findVerification'] = ({ app, number, purpose, subject }) =>
    inTime(async () => {
      const ids = (await this.#apps.run('find-live', app, { number, purpose, subject })) as (string | null)[];
      const found = await Promise.all(ids.map((id) => (id === null ? undefined : this.#verification(app, id))));
      const [open, trusted] = found.map((each) => (each?.number === number ? each : undefined));
      // Ids sort by the moment they were made.
      return (trusted?.id ?? '') > (open?.id ?? '') ? trusted : open;
    });

  addMessage: Store['addMessage'] = (step) =>
    inTime(async () => {
      const given = messageGiven(step, this.#mostEntries);
      return sendingOutcome(await this.#text('add-message', step.message.app, given)) as Awaited<
        ReturnType<Store['addMessage']>
      >;
    });

  recordDispatch: Store['recordDispatch'] = (step) => inTime(() => this.#reports.recordDispatch(step));
  recordReport: Store['recordReport'] = (provider, report, now) =>
    inTime(() => this.#reports.recordReport(provider, report, now));

  recordEmail: Store['recordEmail'] = (app, id, now) =>
    inTime(async () => {
      await this.#apps.run('record-email', app, { now, id });
    });

  getMessage: Store['getMessage'] = (app, id) =>
    inTime(async () => {
      const [text, swept] = await this.#read(app, `m:${id}`);
      if (text === undefined) return this.#postgres.getMessage(app, id);
      const isSwept = swept !== undefined && id < firstIdAt('msg', swept.historyBefore);
      return isSwept ? undefined : messageOf(fromSqlJson(text) as MessageRecord);
    });

  listMessages: Store['listMessages'] = (app, query) =>
    inTime(async () => {
      await this.#apps.mover.drain(app);
      return this.#postgres.listMessages(app, query);
    });

  /** What was claimed of one app is counted, so it must not be lost by the trouble of another one. */
  claimDue: Store['claimDue'] = async (now, leaseUntil, limit) => {
    const claimed: Due[] = [];
    const faults = new Map<string, unknown>();
    const claim = (app: string, most: number) =>
      this.#claimDueOf(app, { now, leaseUntil, limit: most }, claimed).catch((error: unknown) =>
        faults.set(app, error),
      );
    const apps = await this.#apps.list();
    // First none, of all at once: an app that has to be revived, or cannot be, keeps no other one waiting.
    await Promise.all(apps.map((app) => claim(app, 0)));
    for (const app of apps) if (claimed.length < limit && !faults.has(app)) await claim(app, limit - claimed.length);
    for (const [app, fault] of faults) {
      if (claimed.length === 0) throw fault;
      const error = fault instanceof Error ? fault.message : String(fault);
      this.#log.warn({ app, error }, 'messages that are due cannot be taken up just now');
    }
    return claimed;
  };

  getAnswer: Store['getAnswer'] = (app, key) =>
    inTime(async () => {
      const [text, swept] = await this.#read(app, `i:${key}`);
      if (text === undefined) return undefined;
      const kept = fromSqlJson(text) as { readonly answer?: string; readonly expires_at: number };
      return swept !== undefined && kept.expires_at < swept.now ? undefined : kept.answer;
    });

  takeBudget: Store['takeBudget'] = (app, take) =>
    inTime(async () => {
      return takenOutcome(await this.#text('take-budget', app, { budget: take })) as Awaited<
        ReturnType<Store['takeBudget']>
      >;
    });

  readUsage: Store['readUsage'] = (query) =>
    inTime(async () => {
      await this.#drain(query.app === undefined ? await this.#apps.list() : [query.app]);
      return this.#postgres.readUsage(query);
    });

  /** PostgreSQL has the users, and has to know of the approval as well: one step of its own decides. */
  signIn: Store['signIn'] = (step) =>
    inTime(async () => {
      await this.#apps.mover.drain(step.app);
      return this.#postgres.signIn(step);
    });

  findUserByToken: Store['findUserByToken'] = (hash, now) => this.#postgres.findUserByToken(hash, now);
  getUser: Store['getUser'] = (app, id) => this.#postgres.getUser(app, id);
  updateUser: Store['updateUser'] = (app, id, change) => this.#postgres.updateUser(app, id, change);
  revokeToken: Store['revokeToken'] = (hash, now) => this.#postgres.revokeToken(hash, now);
  revokeTokens: Store['revokeTokens'] = (app, id) => this.#postgres.revokeTokens(app, id);
  eraseUser: Store['eraseUser'] = (app, number) => this.#postgres.eraseUser(app, number);

  /** What is in Redis goes with the first step, and with the last; what was written of it before is moved, and erased there. */
  eraseHistory: Store['eraseHistory'] = (step) =>
    inTime(async () => {
      if (step.resumeAt === undefined) await this.#eraseLive(step);
      // Also what is on its way from a Redis that was emptied meanwhile.
      await this.#apps.mover.moveNext(step.app);
      await this.#apps.mover.drain(step.app);
      const next = await this.#postgres.eraseHistory(step);
      if (next.resumeAt !== undefined || (await this.#eraseLive(step))) return next;
      // The rest was put back from PostgreSQL on the way, and what steps have made of it since may be in the stream.
      await this.#apps.mover.drain(step.app);
      return this.#postgres.eraseHistory({ ...step, resumeAt: undefined });
    });

  addResource: Store['addResource'] = (resource, most) => this.#postgres.addResource(resource, most);
  getResource: Store['getResource'] = (app, kind, id) => this.#postgres.getResource(app, kind, id);
  listResources: Store['listResources'] = (query) => this.#postgres.listResources(query);
  updateResource: Store['updateResource'] = (change) => this.#postgres.updateResource(change);
  removeResource: Store['removeResource'] = (app, kind, id) => this.#postgres.removeResource(app, kind, id);

  recordShadow: Store['recordShadow'] = (entry) => this.#postgres.recordShadow(entry);
  readShadow: Store['readShadow'] = (query) => this.#postgres.readShadow(query);

  addApiKey: Store['addApiKey'] = (key) => this.#postgres.addApiKey(key);
  findApiKey: Store['findApiKey'] = (hash) => inTime(() => this.#apiKeys.find(hash));
  listApiKeys: Store['listApiKeys'] = () => this.#postgres.listApiKeys();
  revokeApiKey: Store['revokeApiKey'] = (id, now) => inTime(() => this.#apiKeys.revoke(id, now));
  listSigningKeys: Store['listSigningKeys'] = () => this.#postgres.listSigningKeys();
  addSigningKey: Store['addSigningKey'] = (key, onlyFirst) => this.#postgres.addSigningKey(key, onlyFirst);

  sweep: Store['sweep'] = async (now, historyBefore) => {
    const apps = await this.#apps.list();
    await this.#drain(apps);
    const swept: Swept = { now, historyBefore };
    await this.#apps.remember(apps);
    for (const app of apps) {
      await this.#redis.do((redis) => redis.set(sweptOf(app), JSON.stringify(swept), 'PX', SWEPT_KEPT_MS));
    }
    return this.#postgres.sweep(now, historyBefore);
  };

  lease: Store['lease'] = (name, holder, now, until) => this.#postgres.lease(name, holder, now, until);
  shareBreaker: Store['shareBreaker'] = (shared) => this.#postgres.shareBreaker(shared);
  listBreakers: Store['listBreakers'] = () => this.#postgres.listBreakers();

  /** PostgreSQL's alone: while it is away nodes count on by themselves, and Redis' clock may be quite another. */
  clock: Store['clock'] = () => this.#postgres.clock();

  /**
   * PostgreSQL may be away for a while. Where an app has no room left for what it should get, its own starts are refused: others
   * may have room, and checks go on, so no proxy should take the node away for that.
   */
  probe: Store['probe'] = (now) =>
    inTime(async () => {
      await this.#redis.probe();
      await this.#redis.do((redis) => redis.set('cs:{probe}', String(now), 'PX', PROBE_KEPT_MS));
    });

  close: Store['close'] = () => {
    this.#closing ??= this.#close();
    return this.#closing;
  };

  async #close(): Promise<void> {
    await this.#apps.mover.stop();
    this.#redis.close();
    await this.#postgres.close();
  }

  async #text(...given: Parameters<Apps['run']>): Promise<string> {
    return String(await this.#apps.run(...given));
  }

  async #read(app: string, name: string): Promise<[text: string | undefined, swept: Swept | undefined]> {
    const [text, swept] = (await this.#apps.run('read', app, { names: [name, SWEPT] })) as (string | null)[];
    return [text ?? undefined, swept == null ? undefined : (JSON.parse(swept) as Swept)];
  }

  async #verification(app: string, id: string): Promise<Verification | undefined> {
    const [text, swept] = await this.#read(app, `v:${id}`);
    if (text === undefined) return this.#postgres.getVerification(app, id);
    const isSwept = swept !== undefined && id < firstIdAt('ver', swept.historyBefore);
    return isSwept ? undefined : recordToVerification(fromSqlJson(text) as VerificationRecord);
  }

  /** @param claimed gets what was claimed, also where it ends with a fault */
  async #claimDueOf(app: string, { limit, now, leaseUntil }: ClaimTerms, claimed: Due[]): Promise<void> {
    const most = claimed.length + limit;
    for (;;) {
      const given = { now, leaseUntil, limit: most - claimed.length };
      const text = await inTime(() => this.#text('claim-due', app, given));
      const { due, absent } = fromSqlJson(text) as Claimed;
      const found = await Promise.allSettled(due.map((each) => this.#dueOf(app, each)));
      claimed.push(...found.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : [])));
      for (const each of found) if (each.status === 'rejected') throw each.reason;
      if (absent.length === 0) return;
      // They have outlived their time here: nobody looked for hours.
      for (const id of absent) {
        if (!(await this.#reports.restore(app, id, now))) await this.#apps.run('forget-due', app, { now, id });
      }
    }
  }

  async #dueOf(app: string, { message, verification }: Claimed['due'][number]): Promise<Due> {
    const id = message.verification_id;
    const known = verification === undefined ? undefined : recordToVerification(verification);
    return {
      message: messageOf(message),
      claims: message.claims,
      verification: known ?? (id === null ? undefined : await this.#postgres.getVerification(app, id)),
    };
  }

  /** @returns whether nothing of the number was put back since it was called last */
  async #eraseLive({ app, number, answer }: EraseStep): Promise<boolean> {
    const given = { number, answer, limit: NAMES_OF_ONE_SCRIPT };
    const erase = async () => (await this.#apps.run('erase', app, given)) as [left: number, isUntouched: number];
    let [left, isUntouched] = await erase();
    while (left > 0) [left] = await erase();
    await this.#eraseRefused(app, number);
    return isUntouched === 1;
  }

  /** Mostly there is nothing. */
  async #eraseRefused(app: string, number: string): Promise<void> {
    for (let from = '-'; ; ) {
      const page = await this.#redis.do((redis) => redis.xrange(refusedOf(app), from, '+', 'COUNT', REFUSED_AT_ONCE));
      const doomed = readEntries(page).filter(({ changes }) => changes.some((change) => numberIn(change) === number));
      if (doomed.length > 0) await this.#redis.do((redis) => redis.xdel(refusedOf(app), ...doomed.map(({ id }) => id)));
      const last = page.at(-1);
      if (last === undefined || page.length < REFUSED_AT_ONCE) return;
      from = `(${last[0]}`;
    }
  }

  async #drain(apps: readonly string[]): Promise<void> {
    await Promise.all(apps.map((app) => this.#apps.mover.drain(app)));
  }
}

/** An answer within the deadline, whatever happens to what it waits for. */
async function inTime<Result>(work: () => Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new CountersignError(
          'store-unavailable',
          'Redis or PostgreSQL took too long; whether it is done is not known.',
        ),
      );
    }, ANSWER_DEADLINE_MS);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}
