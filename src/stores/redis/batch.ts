import { type Dispatch, isForward, type Message } from '../../domain/message.ts';
import { addUsage, type UsageChange, usageOfApproval, usageOfDispatch, usageOfLateCost } from '../../domain/usage.ts';
import type { Query } from '../postgres/database.ts';
import { messageIdsOf, recordToMessage, recordToVerification } from '../records.ts';
import type {
  DaySpent,
  Expected,
  HistoryEntry,
  MessageSnapshot,
  NumberGuesses,
  VerificationSnapshot,
} from './snapshots.ts';

/** What is known of a verification before a batch. */
export type KnownVerification = { readonly state: string; readonly revision: number; readonly lastMessage: string };

export type KnownMessage = { readonly revision: number; readonly dispatches: readonly Dispatch[] };

/** What a batch of entries comes to: the newest of each row, and what all of them add to the sums. */
export class Batch {
  readonly verifications = new Map<string, VerificationSnapshot>();
  readonly messages = new Map<string, MessageSnapshot>();
  readonly numbers = new Map<string, NumberGuesses>();
  readonly budgets = new Map<string, DaySpent>();
  readonly expected = new Map<string, Expected>();
  readonly #usage = new Map<string, UsageChange>();
  readonly #knownVerifications: Map<string, KnownVerification>;
  readonly #knownMessages: Map<string, KnownMessage>;

  readonly #isBackward: boolean;

  private constructor(
    verifications: Map<string, KnownVerification>,
    messages: Map<string, KnownMessage>,
    isBackward: boolean,
  ) {
    this.#knownVerifications = verifications;
    this.#knownMessages = messages;
    this.#isBackward = isBackward;
  }

  /**
   * Reads what the sums need to know, inside the transaction that will write them.
   * @param isBackward the server may lack what was done elsewhere, see `revival.ts`
   */
  static async of(entries: readonly HistoryEntry[], isBackward: boolean, query: Query): Promise<Batch> {
    const verifications = new Set<string>();
    const messages = new Set<string>();
    for (const { changes } of entries) {
      for (const change of changes) {
        if (change.kind === 'verification') {
          verifications.add(change.verification.id);
          const last = messageIdsOf(change.verification.message_ids).at(-1);
          if (change.verification.state === 'approved' && last !== undefined) messages.add(last);
        } else if (change.kind === 'message') {
          messages.add(change.message.id);
          if (change.message.verification_id !== null) verifications.add(change.message.verification_id);
        }
      }
    }
    const known = await readVerifications(query, verifications);
    const batch = new Batch(known, await readMessages(query, messages), isBackward);
    for (const { changes } of entries) for (const change of changes) batch.#add(change);
    return batch;
  }

  get usage(): readonly UsageChange[] {
    return [...this.#usage.values()];
  }

  #add(change: HistoryEntry['changes'][number]): void {
    switch (change.kind) {
      case 'verification':
        this.#addVerification(change.verification);
        return;
      case 'message':
        this.#addMessage(change.message);
        return;
      case 'guesses':
        this.numbers.set(change.number.number, change.number);
        return;
      case 'budget':
        this.budgets.set(change.budget.day, change.budget);
        return;
      case 'expected':
        this.expected.set(`${change.expected.provider} ${change.expected.id}`, change.expected);
        return;
    }
  }

  /** An entry that comes again, after a crash or from a replica, is no news: the sums count it once. */
  #addVerification(snapshot: VerificationSnapshot): void {
    const known = this.#knownVerifications.get(snapshot.id);
    if (known !== undefined && known.revision >= snapshot.revision) return;
    const lastMessage = messageIdsOf(snapshot.message_ids).at(-1) ?? '';
    if (snapshot.state === 'approved' && known?.state !== 'approved') {
      const dispatches = this.#knownMessages.get(lastMessage)?.dispatches ?? [];
      this.#count(usageOfApproval(recordToVerification(snapshot), dispatches));
    }
    this.#knownVerifications.set(snapshot.id, { state: snapshot.state, revision: snapshot.revision, lastMessage });
    this.verifications.set(snapshot.id, snapshot);
  }

  #addMessage(snapshot: MessageSnapshot): void {
    const known = this.#knownMessages.get(snapshot.id);
    if (known !== undefined && known.revision >= snapshot.revision) return;
    const message = recordToMessage(snapshot);
    const before = known?.dispatches ?? [];
    // Handed over by a node without Redis, which raises no revision: it would be sent once more.
    if (this.#isBackward && isBehind(message.dispatches, before)) return;
    this.#countDispatches(message, before);
    this.#knownMessages.set(snapshot.id, { revision: snapshot.revision, dispatches: message.dispatches });
    this.messages.set(snapshot.id, snapshot);
  }

  #countDispatches(message: Message, before: readonly Dispatch[]): void {
    for (const [index, dispatch] of message.dispatches.entries()) {
      this.#count(usageOfDispatch(message, before[index], dispatch));
    }
    const isRepriced = before.some(({ reportedCost }, index) => {
      const after = message.dispatches[index]?.reportedCost;
      return after?.micros !== reportedCost?.micros || after?.currency !== reportedCost?.currency;
    });
    if (!isRepriced || before.length !== message.dispatches.length) return;
    const verification = this.#knownVerifications.get(message.verificationId ?? '');
    if (verification?.state === 'approved' && verification.lastMessage === message.id) {
      this.#count(usageOfLateCost(message, before, message.dispatches));
    }
  }

  #count(changes: readonly UsageChange[]): void {
    for (const { key, counts } of changes) {
      if (Object.values(counts).every((count) => count === 0)) continue;
      const name = JSON.stringify([key.day, key.app, key.provider, key.country, key.currency]);
      const known = this.#usage.get(name);
      this.#usage.set(name, { key, counts: known === undefined ? counts : addUsage(known.counts, counts) });
    }
  }
}

function isBehind(dispatches: readonly Dispatch[], known: readonly Dispatch[]): boolean {
  const [last, lastKnown] = [dispatches.at(-1), known.at(-1)];
  if (dispatches.length !== known.length || last === undefined || lastKnown === undefined)
    return dispatches.length < known.length;
  return isForward(last.state, lastKnown.state);
}

async function readVerifications(query: Query, ids: ReadonlySet<string>): Promise<Map<string, KnownVerification>> {
  if (ids.size === 0) return new Map();
  const { rows } = await query(
    'SELECT id, state, revision, message_ids FROM countersign.verification WHERE id = ANY($1)',
    [[...ids]],
  );
  return new Map(
    rows.map((row) => [
      String(row['id']),
      {
        state: String(row['state']),
        revision: Number(row['revision']),
        lastMessage: messageIdsOf(row['message_ids'] as string | null).at(-1) ?? '',
      },
    ]),
  );
}

async function readMessages(query: Query, ids: ReadonlySet<string>): Promise<Map<string, KnownMessage>> {
  if (ids.size === 0) return new Map();
  const { rows } = await query('SELECT to_jsonb(m) AS message FROM countersign.message m WHERE id = ANY($1)', [
    [...ids],
  ]);
  return new Map(
    rows.map((row) => {
      const snapshot = row['message'] as MessageSnapshot;
      return [snapshot.id, { revision: snapshot.revision, dispatches: recordToMessage(snapshot).dispatches }];
    }),
  );
}
