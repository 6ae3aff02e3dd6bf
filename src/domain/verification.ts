import type { GuessLane } from './guess-budget.ts';
import { type Dispatch, wasTaken } from './message.ts';
import type { CountryCode, PhoneNumber } from './phone-number.ts';
import type { Channel } from './provider.ts';
import type { TextEnding } from './text-ending.ts';

export type VerificationState = 'pending' | 'approved' | 'expired' | 'canceled' | 'exhausted';

/** The whole act of proving that somebody holds a number, for one app. Instants are ms since the epoch. */
export type Verification = {
  readonly id: string;
  readonly app: string;
  readonly purpose: string;
  /** the signed-in user it belongs to, where there is one */
  readonly subject: string | undefined;
  /** or the e-mail address that is verified for itself, see `parseEmail` */
  readonly number: PhoneNumber;
  readonly country: CountryCode | undefined;
  readonly channel: Channel;
  readonly locale: string;
  readonly lane: GuessLane;
  readonly state: VerificationState;
  readonly attempts: number;
  readonly maxAttempts: number;
  readonly sends: number;
  readonly maxSends: number;
  /** 128 random bits; with the installation's key and `codeNumber` they make the code */
  readonly nonce: Uint8Array;
  readonly codeNumber: number;
  readonly codeLength: number;
  readonly digests: CodeDigests;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** when the next resend is allowed */
  readonly resendAt: number;
  readonly metadata: Readonly<Record<string, string>> | undefined;
  /** how its texts end, so that a phone may fill the code in */
  readonly ending: TextEnding | undefined;
  /** where a code by e-mail goes */
  readonly email: string | undefined;
  /** set once a managed provider has sent a code of its own */
  readonly managed: ManagedCode | undefined;
  /** has our own code gone out? Not while a managed provider's is the only one. */
  readonly ownCodeSent: boolean;
  /** an e-mail carried a code, or was to: then whoever has the code may not hold the number */
  readonly sentByEmail: boolean;
  /** one for each send, oldest first; of a verification of an older schema, the last one */
  readonly messageIds: readonly string[];
  /** the code that the caller brought, sealed while it may have to be sent again; ours are derived from the nonce */
  readonly sealedCode: Uint8Array | undefined;
  /** what its texts say in place of the app's */
  readonly wording: Wording | undefined;
};

/** A brand and a template in place of the app's own, for one verification. */
export type Wording = { readonly brand?: string; readonly text?: string };

/** The message that carries the code that was asked for last. */
export function lastMessageOf({ messageIds }: Pick<Verification, 'messageIds'>): string | undefined {
  return messageIds.at(-1);
}

/** A code that a provider made: which one, and its name there. */
export type ManagedCode = { readonly provider: string; readonly providerMessageId: string };

/** One code, digested for either way of asking: by the verification's id, and by whom it is for. */
export type CodeDigests = { readonly byId: Uint8Array; readonly bySlot: Uint8Array };

/**
 * Whom a verification is for. There is one live verification in a slot: a subject has one, whatever number it is
 * for; without a subject the number has one for each purpose.
 */
export type Slot = {
  readonly app: string;
  readonly purpose: string;
  readonly subject: string | undefined;
  readonly number: PhoneNumber;
  readonly lane: GuessLane;
};

/** A slot as it is asked for: a subject need not say the number. */
export type SlotQuery = Omit<Slot, 'number'> & { readonly number: PhoneNumber | undefined };

/**
 * What a code is bound to when it is checked without an id. JSON keeps `a|b` + `c` apart from `a` + `b|c`. A subject's code
 * is bound to the subject alone, who may ask without saying a number; where one is said, the store compares it.
 */
export function boundToSlot({ app, purpose, subject, lane, number }: SlotQuery): string {
  return JSON.stringify([app, purpose, subject ?? null, subject === undefined ? number : null, lane]);
}

/** The state at that moment: a pending verification is expired from the very millisecond of `expiresAt` on. */
export function stateAt(verification: Pick<Verification, 'state' | 'expiresAt'>, now: number): VerificationState {
  return verification.state === 'pending' && now >= verification.expiresAt ? 'expired' : verification.state;
}

/**
 * When the send after `sends` sends may follow. Twice 30 s for a text that was slow, then longer: who needs more
 * than three texts is not helped by a fourth at once.
 */
export function resendDelayMs(sends: number, delaysSeconds: readonly number[]): number {
  return (delaysSeconds[Math.min(sends, delaysSeconds.length) - 1] ?? 0) * 1000;
}

/**
 * What a provider's taking the code changes of its verification.
 * @param dispatches of the message, that provider's the last of them
 */
export function carriedBy(
  { sends, managed: managedBefore, ownCodeSent }: Pick<Verification, 'sends' | 'managed' | 'ownCodeSent'>,
  { channel, managed }: { readonly channel: Channel; readonly managed: ManagedCode | undefined },
  dispatches: readonly Dispatch[],
): Pick<Verification, 'channel' | 'managed' | 'ownCodeSent'> {
  if (managed === undefined) return { channel, managed: managedBefore, ownCodeSent: true };
  // A text that another provider took, or may have taken, has our code in it, and may still arrive.
  const isOursOut = dispatches.slice(0, -1).some((each) => each.provider !== managed.provider && wasTaken(each));
  const isFirst = sends === 1 && managedBefore === undefined && !isOursOut;
  return { channel, managed, ownCodeSent: ownCodeSent && !isFirst };
}

/**
 * Does a code with that little life left still deserve a second text? Below, a new start makes a new verification:
 * nobody can read, switch apps and type in less.
 */
export function isWorthRepeating(verification: Verification, now: number): boolean {
  const lifeMs = verification.expiresAt - verification.createdAt;
  return verification.expiresAt - now >= Math.min(120_000, lifeMs / 2);
}

/** What stands in the way of sending once more a verification that is kept for its whole life. */
export function usedUp({
  state,
  sends,
  maxSends,
  attempts,
  maxAttempts,
}: Verification): 'attempts' | 'sends' | undefined {
  if (state === 'exhausted' || attempts >= maxAttempts) return 'attempts';
  return sends >= maxSends ? 'sends' : undefined;
}
