import { timingSafeEqual } from 'node:crypto';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { countGuess, type GuessLane, lockedFor, uncountGuess } from '../../domain/guess-budget.ts';
import type { Message } from '../../domain/message.ts';
import type {
  BudgetTaken,
  CheckOutcome,
  CheckStep,
  DispatchStep,
  ResendOutcome,
  ResendStep,
  SendRefusal,
  SettleCheckStep,
  StartOutcome,
  StartStep,
  Store,
} from '../../domain/store.ts';
import { usageOfApproval } from '../../domain/usage.ts';
import {
  carriedBy,
  isWorthRepeating,
  lastMessageOf,
  resendDelayMs,
  type Slot,
  type SlotQuery,
  stateAt,
  usedUp,
  type Verification,
} from '../../domain/verification.ts';
import { messageIdsToText } from '../records.ts';
import { type Counters, guessesOf, type NumberRow } from './counters.ts';
import type { MessageSteps } from './message-steps.ts';
import { placeholders, text, toVerification, verificationColumns, verificationParameters } from './rows.ts';

/** An app that makes purposes up as it goes (`order-4711`) must not make a number's row longer with each. */
const LIVE_BEFORE_CLEANING = 8;

/** The steps of a verification's life. Each method is run inside a write transaction, and so sees nobody else's half step. */
export class VerificationSteps {
  readonly #counters: Counters;
  readonly #messages: MessageSteps;
  readonly #select: StatementSync;
  readonly #insert: StatementSync;
  readonly #recordAttempt: StatementSync;
  readonly #recordSend: StatementSync;
  readonly #recordCarrier: StatementSync;
  readonly #recordEmail: StatementSync;
  readonly #cancel: StatementSync;
  readonly #selectSubject: StatementSync;
  readonly #putSubject: StatementSync;

  constructor(database: DatabaseSync, counters: Counters, messages: MessageSteps) {
    this.#counters = counters;
    this.#messages = messages;
    this.#select = database.prepare(`SELECT ${verificationColumns} FROM verification WHERE id = ?`);
    this.#insert = database.prepare(
      `INSERT INTO verification (${verificationColumns}) VALUES (${placeholders(verificationColumns)})`,
    );
    // A code that is worth nothing any more is not kept.
    this.#recordAttempt = database.prepare(
      `UPDATE verification SET attempts = ?1, state = ?2, sealed_code = CASE WHEN ?2 = 'pending' THEN sealed_code END
       WHERE id = ?3`,
    );
    this.#recordSend = database.prepare(
      `UPDATE verification SET sends = ?, channel = ?, resend_at = ?, code_number = ?, digest_by_id = ?, digest_by_slot = ?,
         ending = ?, email = ?, message_ids = ?, managed_provider = ?, managed_id = ?, sent_by_email = ?,
         own_code_sent = ?, code_length = ?, sealed_code = ?, wording = ? WHERE id = ?`,
    );
    this.#recordCarrier = database.prepare(
      `UPDATE verification SET channel = ?, managed_provider = ?, managed_id = ?, own_code_sent = ? WHERE id = ?`,
    );
    this.#recordEmail = database.prepare('UPDATE verification SET sent_by_email = 1 WHERE app = ? AND id = ?');
    this.#cancel = database.prepare(
      "UPDATE verification SET state = 'canceled', sealed_code = NULL WHERE id = ? AND state = 'pending'",
    );
    this.#selectSubject = database.prepare(
      'SELECT verification_id FROM subject WHERE app = ? AND subject = ? AND purpose = ? AND lane = ?',
    );
    this.#putSubject = database.prepare(
      'INSERT OR REPLACE INTO subject (app, subject, purpose, lane, verification_id) VALUES (?, ?, ?, ?, ?)',
    );
  }

  get(app: string, id: string): Verification | undefined {
    const row = this.#select.get(id);
    return row === undefined || row['app'] !== app ? undefined : toVerification(row);
  }

  start(step: StartStep): StartOutcome {
    const { now, verification: wanted } = step;
    const repeated = this.#messages.repeatedRequest(wanted.app, step.idempotency, now);
    if (repeated !== undefined) return repeated;
    const number = this.#counters.readNumber(wanted.app, wanted.number);
    const taken = this.#lookAtAll(step, wanted, number);
    if (taken.kind !== 'free') return taken;

    const live = this.#liveIn(wanted, number);
    const isSameNumber = live?.number === wanted.number;
    if (step.keep && live !== undefined && isSameNumber && isKept(live, now)) {
      const what = usedUp(live);
      if (what !== undefined) return { kind: 'used-up', what, retryAfterMs: live.expiresAt - now };
    }
    const isLive = live !== undefined && stateAt(live, now) === 'pending';
    const isRepeated =
      isLive &&
      isSameNumber &&
      (step.keep || (step.repeat && live.sends < live.maxSends && isWorthRepeating(live, now)));
    const isRecoded =
      isRepeated && wanted.sealedCode !== undefined && !timingSafeEqual(wanted.digests.bySlot, live.digests.bySlot);
    if (isRecoded && step.recode?.id !== live.id) return { kind: 'changed', id: live.id };
    taken.take();
    let started: Verification;
    if (isRepeated) {
      started = this.#repeated(step, live);
      if (isRecoded && step.recode !== undefined) {
        const { digests, sealedCode } = step.recode;
        // As after a resend with a new code: the older one is worth nothing, a managed provider's neither.
        const codeNumber = live.codeNumber + 1;
        const { codeLength } = wanted;
        started = { ...started, digests, sealedCode, codeLength, codeNumber, managed: undefined, ownCodeSent: true };
      }
      this.#saveSend(started);
    } else {
      // Two codes for one slot would be two chances a guess.
      if (isLive) this.#cancel.run(live.id);
      started = { ...wanted, messageIds: [step.message.id] };
      this.#insert.run(...verificationParameters(started));
      this.#setLive(wanted, number, now);
    }
    this.#counters.saveNumber(number);
    this.#messages.addFor(started, step.message, step.orphanedAt);
    this.#messages.keepKey(wanted.app, step.idempotency);
    return { kind: 'started', verification: started, ...taken.budget };
  }

  /** The live verification with one more send, as the second start wants it. */
  #repeated({ now, verification: wanted, message, delaysSeconds }: StartStep, live: Verification): Verification {
    const sends = live.sends + 1;
    const { channel, ending, email, wording } = wanted;
    return {
      ...live,
      sends,
      channel,
      resendAt: now + resendDelayMs(sends, delaysSeconds),
      ending,
      email: email ?? live.email,
      wording,
      sentByEmail: live.sentByEmail || channel === 'email',
      messageIds: [...live.messageIds, message.id],
    };
  }

  resend(step: ResendStep): ResendOutcome {
    const { now } = step;
    const repeated = this.#messages.repeatedRequest(step.app, step.idempotency, now);
    if (repeated !== undefined) return repeated;
    const verification = this.get(step.app, step.id);
    if (verification === undefined) return { kind: 'unknown' };
    const state = stateAt(verification, now);
    if (state !== 'pending') return { kind: 'ended', state };
    if (verification.sends >= verification.maxSends) return { kind: 'sends-exhausted' };
    if (now < verification.resendAt) return { kind: 'too-early', retryAfterMs: verification.resendAt - now };
    if (step.code !== undefined && step.code.replaces !== verification.codeNumber) return { kind: 'changed' };
    const number = this.#counters.readNumber(step.app, verification.number);
    const taken = this.#lookAtAll(step, verification, number);
    if (taken.kind !== 'free') return taken;

    taken.take();
    const sends = verification.sends + 1;
    const resent: Verification = {
      ...verification,
      sends,
      channel: step.channel,
      resendAt: now + resendDelayMs(sends, step.delaysSeconds),
      codeNumber: step.code?.codeNumber ?? verification.codeNumber,
      digests: step.code?.digests ?? verification.digests,
      ending: step.ending ?? verification.ending,
      // A new code ends whatever was there before, a managed provider's too.
      managed: step.code === undefined ? verification.managed : undefined,
      sentByEmail: verification.sentByEmail || step.channel === 'email',
      messageIds: [...verification.messageIds, step.message.id],
    };
    this.#saveSend(resent);
    this.#counters.saveNumber(number);
    this.#messages.addFor(resent, step.message, step.orphanedAt);
    this.#messages.keepKey(step.app, step.idempotency);
    return { kind: 'resent', verification: resent, ...taken.budget };
  }

  check(step: CheckStep): CheckOutcome {
    const taken = this.#counters.take(step.app, step.buckets, undefined, step.now);
    if (taken.kind === 'limited') return taken;
    const outcome = step.by === 'id' ? this.#checkById(step) : this.#checkBySlot(step);
    if (outcome.kind === 'wrong' || outcome.kind === 'ask') taken.save();
    return outcome;
  }

  approve(app: string, id: string, now: number): Awaited<ReturnType<Store['approve']>> {
    const verification = this.get(app, id);
    if (verification === undefined) return { kind: 'unknown' };
    const state = stateAt(verification, now);
    return state === 'pending' ? this.#settleApproved(verification) : { kind: 'ended', state };
  }

  find(slot: Omit<Slot, 'lane'>): Verification | undefined {
    const number = this.#counters.readNumber(slot.app, slot.number);
    const [open, trusted] = (['open', 'trusted'] as const).map((lane) => {
      const live = this.#liveIn({ ...slot, lane }, number);
      return live?.number === slot.number ? live : undefined;
    });
    // Ids sort by the moment they were made.
    return (trusted?.id ?? '') > (open?.id ?? '') ? trusted : open;
  }

  cancel(app: string, id: string, now: number): Awaited<ReturnType<Store['cancel']>> {
    const verification = this.get(app, id);
    if (verification === undefined) return { kind: 'unknown' };
    const state = stateAt(verification, now);
    if (state !== 'pending') return { kind: 'ended', state };
    this.#cancel.run(id);
    return { kind: 'canceled', verification: { ...verification, state: 'canceled', sealedCode: undefined } };
  }

  #checkById(step: CheckStep & { by: 'id' }): CheckOutcome {
    const verification = this.get(step.app, step.id);
    const isMeant =
      verification !== undefined &&
      (step.purpose === undefined || step.purpose === verification.purpose) &&
      (step.subject === undefined || step.subject === verification.subject);
    if (!isMeant) return { kind: 'unknown' };
    const state = stateAt(verification, step.now);
    if (state !== 'pending') return { kind: 'ended', state };
    if (!hasAttemptLeft(verification)) return { kind: 'ended', state: 'exhausted' };
    const { codeLength } = verification;
    if (step.codeLength !== codeLength) return { kind: 'malformed', codeLength };
    const number = this.#counters.readNumber(step.app, verification.number);
    return this.#compare(step, verification, verification.digests.byId, number);
  }

  /** Whether there is something to compare with or not: the same reads, the same writes, the same answer. */
  #checkBySlot(step: CheckStep & { by: 'slot' }): CheckOutcome {
    if (step.number === undefined) return this.#checkBySubject(step);
    const number = this.#counters.readNumber(step.app, step.number);
    const live = this.#liveIn(step, number);
    // A subject's code is not bound to the number: this comparison is what keeps it from another one.
    const isOpen = live?.number === step.number && isOpenAt(live, step.now);
    if (isOpen) return this.#compare(step, live, live.digests.bySlot, number);
    const lockedMs = lockedFor(guessesOf(number, step.lane), step.guesses, step.now);
    if (lockedMs > 0) return { kind: 'locked', retryAfterMs: lockedMs };
    this.#recordAttempt.run(0, 'expired', '');
    this.#countGuess(step, step.lane, number);
    return { kind: 'wrong', verification: undefined, attemptsLeft: 0 };
  }

  /** Who is signed in learns of nobody else's number, so there is nothing to level out. */
  #checkBySubject(step: CheckStep & { by: 'slot' }): CheckOutcome {
    const live = this.#liveIn(step, undefined);
    if (live === undefined || !isOpenAt(live, step.now)) {
      return { kind: 'wrong', verification: undefined, attemptsLeft: 0 };
    }
    return this.#compare(step, live, live.digests.bySlot, this.#counters.readNumber(step.app, live.number));
  }

  #compare(step: CheckStep, verification: Verification, digest: Uint8Array, number: NumberRow): CheckOutcome {
    const { lane, managed } = verification;
    const guesses = guessesOf(number, lane);
    const lockedMs = lockedFor(guesses, step.guesses, step.now);
    if (lockedMs > 0) return { kind: 'locked', retryAfterMs: lockedMs };
    const attempts = verification.attempts + 1;
    // A code of ours that never went out is a code that nobody can know: it must not be guessed either.
    if (verification.ownCodeSent && timingSafeEqual(digest, step.digest)) {
      return this.#approve({ ...verification, attempts }, number);
    }
    if (managed !== undefined) {
      this.#recordAttempt.run(attempts, 'pending', verification.id);
      this.#countGuess(step, lane, number);
      return { kind: 'ask', verification: { ...verification, attempts }, managed };
    }
    const state = attempts >= verification.maxAttempts ? 'exhausted' : 'pending';
    this.#recordAttempt.run(attempts, state, verification.id);
    this.#countGuess(step, lane, number);
    const sealedCode = state === 'pending' ? verification.sealedCode : undefined;
    return {
      kind: 'wrong',
      verification: { ...verification, attempts, state, sealedCode },
      attemptsLeft: verification.maxAttempts - attempts,
    };
  }

  /** What a managed provider said about a code that `check` let through. */
  settleCheck({
    now,
    app,
    id,
    guesses,
    codeNumber,
    verdict,
  }: SettleCheckStep): Awaited<ReturnType<Store['settleCheck']>> {
    const verification = this.get(app, id);
    if (verification === undefined) return { kind: 'unknown' };
    const { state, attempts, maxAttempts } = verification;
    // Not `expired`: the check came in time. `exhausted` by a wrong one that was answered sooner, with this one under way.
    if (state !== 'pending' && state !== 'exhausted') return { kind: 'ended', state };
    if (verdict === 'approved' && codeNumber === verification.codeNumber) {
      return this.#approve(verification, this.#counters.readNumber(app, verification.number));
    }
    if (verdict === 'unanswered') {
      const number = this.#counters.readNumber(app, verification.number);
      const { lane } = verification;
      number.guesses[lane] = uncountGuess(guessesOf(number, lane), guesses, now);
      this.#counters.saveNumber(number);
    }
    const left = verdict === 'unanswered' ? Math.max(0, attempts - 1) : attempts;
    const settled = { ...verification, attempts: left, state: left >= maxAttempts ? 'exhausted' : state } as const;
    this.#recordAttempt.run(settled.attempts, settled.state, id);
    return { kind: 'wrong', verification: settled, attemptsLeft: Math.max(0, maxAttempts - left) };
  }

  #approve(verification: Verification, number: NumberRow): CheckOutcome & { kind: 'approved' } {
    const { lane, number: recipient, email, sentByEmail } = verification;
    // Whoever reads a mailbox has shown nothing of a number: that gives nobody the guesses at it back.
    const isHeld = !sentByEmail || email === recipient;
    if (isHeld && number.guesses[lane] !== undefined) {
      delete number.guesses[lane];
      this.#counters.saveNumber(number);
    }
    return this.#settleApproved(verification);
  }

  #settleApproved(verification: Verification): CheckOutcome & { kind: 'approved' } {
    this.#recordAttempt.run(verification.attempts, 'approved', verification.id);
    const lastMessageId = lastMessageOf(verification);
    if (lastMessageId !== undefined) {
      this.#counters.addUsage(usageOfApproval(verification, this.#messages.dispatchesOf(lastMessageId)));
    }
    return { kind: 'approved', verification: { ...verification, state: 'approved', sealedCode: undefined } };
  }

  /** Before a hand-over: an e-mail is to carry the code. */
  recordEmail(app: string, id: string): void {
    this.#recordEmail.run(app, id);
  }

  /** After a hand-over: by which channel, and whose code it was. */
  recordCarrier(message: Message, carried: NonNullable<DispatchStep['carried']>): void {
    if (message.verificationId === undefined) return;
    const verification = this.get(message.app, message.verificationId);
    // A newer code ended whatever was there before, also what was on its way.
    if (verification === undefined || verification.codeNumber !== message.codeNumber) return;
    const dispatches = carried.managed === undefined ? [] : this.#messages.dispatchesOf(message.id);
    const { channel, managed, ownCodeSent } = carriedBy(verification, carried, dispatches);
    const { provider = null, providerMessageId = null } = managed ?? {};
    this.#recordCarrier.run(channel, provider, providerMessageId, ownCodeSent ? 1 : 0, verification.id);
  }

  #countGuess(step: CheckStep, lane: GuessLane, number: NumberRow): void {
    number.guesses[lane] = countGuess(guessesOf(number, lane), step.guesses, step.now);
    this.#counters.saveNumber(number);
  }

  /** The buckets and the budget: `take` counts all of them, and before it is called nothing is counted. */
  #lookAtAll(
    step: StartStep | ResendStep,
    slot: Slot,
    number: NumberRow,
  ):
    | Exclude<SendRefusal, { kind: 'used-up' }>
    | { readonly kind: 'free'; readonly budget: { readonly budget?: BudgetTaken }; readonly take: () => void } {
    const lockedMs = lockedFor(guessesOf(number, slot.lane), step.guesses, step.now);
    if (lockedMs > 0) return { kind: 'locked', retryAfterMs: lockedMs };
    const taken = this.#counters.take(slot.app, step.buckets, number, step.now);
    if (taken.kind === 'limited') return taken;
    const budget = step.budget === undefined ? undefined : this.#counters.budgetAfter(slot.app, step.budget);
    if (budget === 'over-budget') return { kind: 'over-budget' };
    return {
      kind: 'free',
      budget: budget === undefined ? {} : { budget },
      take: () => {
        taken.save();
        if (step.budget !== undefined) this.#counters.addSpent(slot.app, step.budget.day, step.budget.micros);
      },
    };
  }

  #saveSend(verification: Verification): void {
    this.#recordSend.run(
      verification.sends,
      verification.channel,
      verification.resendAt,
      verification.codeNumber,
      verification.digests.byId,
      verification.digests.bySlot,
      verification.ending === undefined ? null : JSON.stringify(verification.ending),
      verification.email ?? null,
      messageIdsToText(verification.messageIds),
      verification.managed?.provider ?? null,
      verification.managed?.providerMessageId ?? null,
      verification.sentByEmail ? 1 : 0,
      verification.ownCodeSent ? 1 : 0,
      verification.codeLength,
      verification.sealedCode ?? null,
      verification.wording === undefined ? null : JSON.stringify(verification.wording),
      verification.id,
    );
  }

  /** The verification that was started last in the slot, whatever its state. */
  #liveIn(slot: SlotQuery, number: NumberRow | undefined): Verification | undefined {
    let id = number?.live[liveKey(slot)];
    if (slot.subject !== undefined) {
      const row = this.#selectSubject.get(slot.app, slot.subject, slot.purpose, slot.lane);
      id = row === undefined ? undefined : text(row['verification_id']);
    }
    return id === undefined ? undefined : this.get(slot.app, id);
  }

  #forgetEnded(number: NumberRow, now: number): void {
    for (const [key, id] of Object.entries(number.live)) {
      const verification = this.get(number.app, id);
      // An exhausted one may be one that is kept: until it expires nothing takes its place.
      if (verification === undefined || !isKept(verification, now)) delete number.live[key];
    }
  }

  #setLive(verification: Verification, number: NumberRow, now: number): void {
    if (verification.subject === undefined) {
      if (Object.keys(number.live).length >= LIVE_BEFORE_CLEANING) this.#forgetEnded(number, now);
      number.live[liveKey(verification)] = verification.id;
    } else {
      const { app, subject, purpose, lane, id } = verification;
      this.#putSubject.run(app, subject, purpose, lane, id);
    }
  }
}

/** Checks that wait for a managed provider's answer have their attempts counted, and no further one is let through. */
function hasAttemptLeft({ attempts, maxAttempts }: Verification): boolean {
  return attempts < maxAttempts;
}

function isOpenAt(verification: Verification, now: number): boolean {
  return stateAt(verification, now) === 'pending' && hasAttemptLeft(verification);
}

/** Does it hold its slot, where one verification is kept for its whole life? */
function isKept({ state, expiresAt }: Verification, now: number): boolean {
  return now < expiresAt && (state === 'pending' || state === 'exhausted');
}

/** The lane first: it is one of two words, so whatever a purpose is called, no slot has the key of another. */
function liveKey(slot: Pick<Slot, 'lane' | 'purpose'>): string {
  return `${slot.lane} ${slot.purpose}`;
}
