import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { PhoneNumber } from '../../domain/phone-number.ts';
import type { SignInOutcome, SignInStep, UserChange } from '../../domain/store.ts';
import type { User } from '../../domain/user.ts';
import { integer, type Row, text } from './rows.ts';
import type { VerificationSteps } from './verification-steps.ts';

/** Users and their access tokens. Writes run inside a write transaction. */
export class UserSteps {
  readonly #verifications: VerificationSteps;
  readonly #select: StatementSync;
  readonly #selectByNumber: StatementSync;
  readonly #selectByToken: StatementSync;
  readonly #nextId: StatementSync;
  readonly #insert: StatementSync;
  readonly #update: StatementSync;
  readonly #delete: StatementSync;
  readonly #insertToken: StatementSync;
  readonly #deleteToken: StatementSync;
  readonly #deleteTokens: StatementSync;

  constructor(database: DatabaseSync, verifications: VerificationSteps) {
    this.#verifications = verifications;
    this.#select = database.prepare('SELECT * FROM user WHERE app = ? AND id = ?');
    this.#selectByNumber = database.prepare('SELECT * FROM user WHERE app = ? AND number = ?');
    this.#selectByToken = database.prepare(
      `SELECT u.* FROM access_token t JOIN user u ON u.app = t.app AND u.id = t.user_id
       WHERE t.hash = ? AND t.expires_at > ?`,
    );
    this.#nextId = database.prepare(
      `INSERT INTO user_sequence (app, last_id) VALUES (?, 1)
       ON CONFLICT DO UPDATE SET last_id = last_id + 1 RETURNING last_id`,
    );
    this.#insert = database.prepare(
      `INSERT INTO user (app, id, number, name, full_name, created_at) VALUES (?, ?, ?, ?, '', ?) RETURNING *`,
    );
    this.#update = database.prepare(
      `UPDATE user SET name = coalesce(?, name), full_name = coalesce(?, full_name) WHERE app = ? AND id = ? RETURNING *`,
    );
    this.#delete = database.prepare('DELETE FROM user WHERE app = ? AND number = ? RETURNING id');
    this.#insertToken = database.prepare(
      'INSERT INTO access_token (hash, app, user_id, expires_at) VALUES (?, ?, ?, ?)',
    );
    this.#deleteToken = database.prepare('DELETE FROM access_token WHERE hash = ? AND expires_at > ?');
    this.#deleteTokens = database.prepare('DELETE FROM access_token WHERE app = ? AND user_id = ?');
  }

  signIn({ now, app, verificationId, number, name, token }: SignInStep): SignInOutcome {
    const verification = this.#verifications.get(app, verificationId);
    const isProven = verification?.state === 'approved' && verification.number === number && !verification.sentByEmail;
    if (!isProven) return { kind: 'unproven' };
    const found = this.#selectByNumber.get(app, number);
    const user = toUser(found ?? this.#make(app, number, name, now));
    this.#insertToken.run(token.hash, app, Number(user.id), token.expiresAt);
    return { kind: 'signed-in', user, isNew: found === undefined };
  }

  get(app: string, id: string): User | undefined {
    return toOptionalUser(this.#select.get(app, Number(id)));
  }

  findByToken(hash: string, now: number): User | undefined {
    return toOptionalUser(this.#selectByToken.get(hash, now));
  }

  update(app: string, id: string, { name, fullName }: UserChange): User | undefined {
    return toOptionalUser(this.#update.get(name ?? null, fullName ?? null, app, Number(id)));
  }

  revokeToken(hash: string, now: number): boolean {
    return this.#deleteToken.run(hash, now).changes === 1;
  }

  revokeTokens(app: string, id: string): boolean {
    this.#deleteTokens.run(app, Number(id));
    return this.get(app, id) !== undefined;
  }

  erase(app: string, number: PhoneNumber): void {
    const row = this.#delete.get(app, number);
    if (row !== undefined) this.#deleteTokens.run(app, integer(row['id']));
  }

  #make(app: string, number: PhoneNumber, name: string, now: number): Row {
    const id = integer(this.#nextId.get(app)?.['last_id']);
    return this.#insert.get(app, id, number, name, now) as Row;
  }
}

function toOptionalUser(row: Row | undefined): User | undefined {
  return row === undefined ? undefined : toUser(row);
}

function toUser(row: Row): User {
  return {
    app: text(row['app']),
    id: String(integer(row['id'])),
    number: text(row['number']) as PhoneNumber,
    name: text(row['name']),
    fullName: text(row['full_name']),
    createdAt: integer(row['created_at']),
  };
}
