import type { Guesses, GuessLane } from '../../domain/guess-budget.ts';
import type { MessageRecord, VerificationRecord } from '../records.ts';

/** As it was after a change. `revision` grows with each, also from one server to the next, see `revival.ts`. */
export type VerificationSnapshot = VerificationRecord & { readonly revision: number };

export type MessageSnapshot = MessageRecord & {
  readonly revision: number;
  readonly due_at: number | null;
  readonly leased_until: number | null;
  readonly claims: number;
};

export type NumberGuesses = {
  readonly number: string;
  readonly guesses: Partial<Record<GuessLane, Guesses>> | null;
};

/** `spent` is text: micros need not fit into what Lua writes of a number. */
export type DaySpent = { readonly day: string; readonly spent: string };

export type Expected = { readonly provider: string; readonly id: string; readonly message: string };

/** One entry of the stream: what one step changed. */
export type HistoryEntry = {
  readonly id: string;
  readonly changes: readonly Change[];
};

export type Change =
  | { readonly kind: 'verification'; readonly verification: VerificationSnapshot }
  | { readonly kind: 'message'; readonly message: MessageSnapshot }
  | { readonly kind: 'guesses'; readonly number: NumberGuesses }
  | { readonly kind: 'budget'; readonly budget: DaySpent }
  | { readonly kind: 'expected'; readonly expected: Expected };

/** Whose it is; undefined for what names no number. */
export function numberIn(change: Change): string | undefined {
  if (change.kind === 'verification') return change.verification.number;
  if (change.kind === 'message') return change.message.number;
  return change.kind === 'guesses' ? change.number.number : undefined;
}

/** What `take-history` returned. */
export function readEntries(entries: unknown): HistoryEntry[] {
  return (entries as [id: string, fields: string[] | null][]).map(([id, fields]) => {
    const changes: Change[] = [];
    for (let index = 0; index < (fields?.length ?? 0); index += 2) {
      const change = readChange(fields?.[index] ?? '', fields?.[index + 1] ?? '');
      if (change !== undefined) changes.push(change);
    }
    return { id, changes };
  });
}

function readChange(kind: string, text: string): Change | undefined {
  switch (kind) {
    case 'v':
      return { kind: 'verification', verification: JSON.parse(text) as VerificationSnapshot };
    case 'm':
      return { kind: 'message', message: JSON.parse(text) as MessageSnapshot };
    case 'g':
      return { kind: 'guesses', number: JSON.parse(text) as NumberGuesses };
    case 'b':
      return { kind: 'budget', budget: JSON.parse(text) as DaySpent };
    case 'r':
      return { kind: 'expected', expected: JSON.parse(text) as Expected };
    default:
      // Written so that a check without anything to compare writes as much as one with.
      return undefined;
  }
}
