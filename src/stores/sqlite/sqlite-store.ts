import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { firstIdAt } from '../../domain/id.ts';
import { CountersignError } from '../../domain/problem.ts';
import type { ApiKey, SigningKey, Store } from '../../domain/store.ts';
import { dayOf } from '../../domain/usage.ts';
import { Checkpointer } from './checkpointer.ts';
import { Counters } from './counters.ts';
import { openDatabase } from './database.ts';
import { Eraser } from './eraser.ts';
import { asStoreError, GroupCommit } from './group-commit.ts';
import { type LogFile, openLogFile } from './log-file.ts';
import { MessageSteps } from './message-steps.ts';
import { NodeSteps } from './node-steps.ts';
import { ResourceSteps } from './resource-steps.ts';
import { integer, type Row, text } from './rows.ts';
import { ShadowSteps } from './shadow-steps.ts';
import { Sweeper } from './sweeper.ts';
import { UserSteps } from './user-steps.ts';
import { VerificationSteps } from './verification-steps.ts';

/**
 * The embedded store: one file, one node, no account anywhere. What is acknowledged is on the disk.
 * @param file path of the database; made, with its directory, when it is missing
 * @throws CountersignError `store-unavailable` or `store-incompatible`
 */
export function openSqliteStore(file: string): Store {
  return new SqliteStore(file);
}

/**
 * What a probe writes for real, so that a read-only file and a full disk are found out: more than a transaction of
 * many steps takes. A single page still finds room on a disk on which no start does.
 */
const PROBE_BYTES = 256 * 1024;

class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #log: LogFile;
  readonly #checkpointer: Checkpointer;
  readonly #commits: GroupCommit;
  readonly #verifications: VerificationSteps;
  readonly #messages: MessageSteps;
  readonly #counters: Counters;
  readonly #users: UserSteps;
  readonly #eraser: Eraser;
  readonly #resources: ResourceSteps;
  readonly #shadow: ShadowSteps;
  readonly #sweeper: Sweeper;
  readonly #nodes: NodeSteps;
  readonly #statements: Record<
    | 'addApiKey'
    | 'findApiKey'
    | 'listApiKeys'
    | 'revokeApiKey'
    | 'listSigningKeys'
    | 'addSigningKey'
    | 'addFirstSigningKey'
    | 'probe',
    StatementSync
  >;

  constructor(file: string) {
    const database = openDatabase(file);
    this.#database = database;
    this.#log = openLogFile(file);
    this.#checkpointer = new Checkpointer(database, file);
    const counters = new Counters(database);
    this.#counters = counters;
    this.#messages = new MessageSteps(database, counters);
    this.#verifications = new VerificationSteps(database, counters, this.#messages);
    this.#users = new UserSteps(database, this.#verifications);
    this.#eraser = new Eraser(database);
    this.#resources = new ResourceSteps(database);
    this.#shadow = new ShadowSteps(database);
    this.#sweeper = new Sweeper(database);
    this.#nodes = new NodeSteps(database);
    this.#commits = new GroupCommit(database, this.#log.sync, {
      beforeCommit: () => counters.writeBack(),
      afterEnd: (committed) => {
        counters.forget();
        this.#checkpointer.afterCommit(committed);
      },
    });
    this.#statements = {
      addApiKey: database.prepare('INSERT INTO api_key (id, app, name, hash, created_at) VALUES (?, ?, ?, ?, ?)'),
      findApiKey: database.prepare('SELECT * FROM api_key WHERE hash = ?'),
      listApiKeys: database.prepare('SELECT * FROM api_key ORDER BY id'),
      revokeApiKey: database.prepare('UPDATE api_key SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?'),
      listSigningKeys: database.prepare('SELECT * FROM signing_key ORDER BY created_at DESC, id DESC'),
      addSigningKey: database.prepare(
        'INSERT INTO signing_key (id, sealed_private_key, public_jwk, created_at) VALUES (?, ?, ?, ?)',
      ),
      addFirstSigningKey: database.prepare(
        `INSERT INTO signing_key (id, sealed_private_key, public_jwk, created_at)
         SELECT ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM signing_key)`,
      ),
      probe: database.prepare(
        `INSERT OR REPLACE INTO bucket (key, log, idle_at) VALUES ('probe', printf('%${PROBE_BYTES}s', '[]'), ?)`,
      ),
    };
  }

  start: Store['start'] = (step) => this.#commits.run(() => this.#verifications.start(step));
  resend: Store['resend'] = (step) => this.#commits.run(() => this.#verifications.resend(step));
  check: Store['check'] = (step) => this.#commits.run(() => this.#verifications.check(step));
  settleCheck: Store['settleCheck'] = (step) => this.#commits.run(() => this.#verifications.settleCheck(step));
  cancel: Store['cancel'] = (app, id, now) => this.#commits.run(() => this.#verifications.cancel(app, id, now));
  approve: Store['approve'] = (app, id, now) => this.#commits.run(() => this.#verifications.approve(app, id, now));
  getVerification: Store['getVerification'] = (app, id) => this.#read(() => this.#verifications.get(app, id));
  findVerification: Store['findVerification'] = (slot) => this.#read(() => this.#verifications.find(slot));

  addMessage: Store['addMessage'] = (step) => this.#commits.run(() => this.#messages.add(step));
  // If the machine loses its power in that moment the message is an orphan again: its outcome is then not known, and
  // it is sent once more with the same code. No caller has to wait for the disk for that.
  recordDispatch: Store['recordDispatch'] = (step) =>
    this.#commits.run(() => {
      this.#messages.recordDispatch(step);
      if (step.carried !== undefined) this.#verifications.recordCarrier(step.message, step.carried);
    }, 'committed');
  recordEmail: Store['recordEmail'] = (app, verificationId) =>
    this.#commits.run(() => this.#verifications.recordEmail(app, verificationId));
  recordReport: Store['recordReport'] = (provider, report, now) =>
    this.#commits.run(() => this.#messages.recordReport(provider, report, now));
  getMessage: Store['getMessage'] = (app, id) => this.#read(() => this.#messages.get(app, id));
  listMessages: Store['listMessages'] = (app, query) =>
    this.#read(() => {
      if (query.verificationId === undefined) return this.#messages.list(app, query);
      const verification = this.#verifications.get(app, query.verificationId);
      return verification === undefined ? [] : this.#messages.listOf(verification, query);
    });
  getAnswer: Store['getAnswer'] = (app, key) => this.#read(() => this.#messages.answerOf(app, key));
  claimDue: Store['claimDue'] = (now, leaseUntil, limit) =>
    this.#commits.run(() =>
      this.#messages.claimDue(now, leaseUntil, limit).map(({ message, claims }) => ({
        message,
        claims,
        verification:
          message.verificationId === undefined
            ? undefined
            : this.#verifications.get(message.app, message.verificationId),
      })),
    );

  takeBudget: Store['takeBudget'] = (app, take) =>
    this.#commits.run(() => {
      const taken = this.#counters.budgetAfter(app, take);
      if (taken === 'over-budget') return { kind: taken } as const;
      this.#counters.addSpent(app, take.day, take.micros);
      return { kind: 'taken', ...taken } as const;
    });
  readUsage: Store['readUsage'] = ({ app, from, to }) => this.#read(() => this.#counters.readUsage(app, from, to));

  signIn: Store['signIn'] = (step) => this.#commits.run(() => this.#users.signIn(step));
  findUserByToken: Store['findUserByToken'] = (hash, now) => this.#read(() => this.#users.findByToken(hash, now));
  getUser: Store['getUser'] = (app, id) => this.#read(() => this.#users.get(app, id));
  updateUser: Store['updateUser'] = (app, id, change) => this.#commits.run(() => this.#users.update(app, id, change));
  revokeToken: Store['revokeToken'] = (hash, now) => this.#commits.run(() => this.#users.revokeToken(hash, now));
  revokeTokens: Store['revokeTokens'] = (app, id) => this.#commits.run(() => this.#users.revokeTokens(app, id));
  eraseHistory: Store['eraseHistory'] = async (step) => {
    if (step.resumeAt === undefined) await this.#commits.run(() => this.#eraser.cancelLive(step.app, step.number));
    const slice = await this.#read(() => this.#eraser.find(step));
    if (slice.ids.length > 0) await this.#commits.run(() => this.#eraser.erase(slice, step));
    return { resumeAt: slice.resumeAt };
  };
  eraseUser: Store['eraseUser'] = (app, number) => this.#commits.run(() => this.#users.erase(app, number));

  addResource: Store['addResource'] = (resource, most) => this.#commits.run(() => this.#resources.add(resource, most));
  getResource: Store['getResource'] = (app, kind, id) => this.#read(() => this.#resources.get(app, kind, id));
  listResources: Store['listResources'] = (query) => this.#read(() => this.#resources.list(query));
  updateResource: Store['updateResource'] = (change) => this.#commits.run(() => this.#resources.update(change));
  removeResource: Store['removeResource'] = (app, kind, id) =>
    this.#commits.run(() => this.#resources.remove(app, kind, id));

  // A comparison that a machine loses with its power is one of many: nobody has to wait for the disk for that.
  recordShadow: Store['recordShadow'] = (entry) => this.#commits.run(() => this.#shadow.record(entry), 'committed');
  readShadow: Store['readShadow'] = (query) => this.#read(() => this.#shadow.read(query));

  addApiKey: Store['addApiKey'] = (key) =>
    this.#commits.run(() => {
      this.#statements.addApiKey.run(key.id, key.app, key.name, key.hash, key.createdAt);
    });
  findApiKey: Store['findApiKey'] = (hash) =>
    this.#read(() => {
      const row = this.#statements.findApiKey.get(hash);
      return row === undefined ? undefined : toApiKey(row);
    });
  listApiKeys: Store['listApiKeys'] = () => this.#read(() => this.#statements.listApiKeys.all().map(toApiKey));
  revokeApiKey: Store['revokeApiKey'] = (id, now) =>
    this.#commits.run(() => this.#statements.revokeApiKey.run(now, id).changes === 1);
  listSigningKeys: Store['listSigningKeys'] = () =>
    this.#read(() => this.#statements.listSigningKeys.all().map(toSigningKey));
  addSigningKey: Store['addSigningKey'] = (key, onlyFirst) =>
    this.#commits.run(() => {
      const insert = onlyFirst ? this.#statements.addFirstSigningKey : this.#statements.addSigningKey;
      insert.run(key.id, key.sealedPrivateKey, key.publicJwk, key.createdAt);
    });

  sweep: Store['sweep'] = (now, historyBefore) =>
    this.#commits.run(() =>
      this.#sweeper.sweep(now, {
        ver: firstIdAt('ver', historyBefore),
        msg: firstIdAt('msg', historyBefore),
        day: dayOf(historyBefore),
      }),
    );

  // Neither outlives a machine that loses its power: whoever held a lease is gone, and a provider is soon found out again.
  lease: Store['lease'] = (name, holder, now, until) =>
    this.#commits.run(() => this.#nodes.lease(name, holder, now, until), 'committed');
  shareBreaker: Store['shareBreaker'] = (shared) => this.#commits.run(() => this.#nodes.share(shared), 'committed');
  listBreakers: Store['listBreakers'] = () => this.#read(() => this.#nodes.list());
  /** The processes over one file are on one machine, and have its clock. */
  clock: Store['clock'] = async () => undefined;
  probe: Store['probe'] = (now) =>
    this.#commits.run(() => {
      this.#statements.probe.run(now);
    });

  /** Reads see what is committed, and wait for nobody. */
  async #read<Result>(work: () => Result): Promise<Result> {
    if (!this.#database.isOpen) throw new CountersignError('store-unavailable', 'The database is closed.');
    try {
      return work();
    } catch (error) {
      throw asStoreError(error, 'read');
    }
  }

  async close(): Promise<void> {
    await this.#commits.close();
    await this.#checkpointer.close();
    this.#log.close();
    if (this.#database.isOpen) this.#database.close();
  }
}

function toApiKey(row: Row): ApiKey {
  const revokedAt = row['revoked_at'];
  return {
    id: text(row['id']),
    app: text(row['app']),
    name: text(row['name']),
    hash: text(row['hash']),
    createdAt: integer(row['created_at']),
    revokedAt: revokedAt === null ? undefined : integer(revokedAt),
  };
}

function toSigningKey(row: Row): SigningKey {
  return {
    id: text(row['id']),
    sealedPrivateKey: row['sealed_private_key'] as Uint8Array,
    publicJwk: text(row['public_jwk']),
    createdAt: integer(row['created_at']),
  };
}
