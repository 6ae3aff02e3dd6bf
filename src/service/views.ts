import type { Verification, VerificationState } from '../domain/verification.ts';
import { stateAt } from '../domain/verification.ts';

/** What a caller sees of a verification. Instants are ms since the epoch. */
export type VerificationView = {
  readonly id: string;
  readonly status: VerificationState;
  /** E.164, or the e-mail address that is verified */
  readonly to: string;
  /** ISO 3166-1 alpha-2; undefined for numbers of no country */
  readonly country: string | undefined;
  readonly channel: string;
  readonly locale: string;
  readonly purpose: string;
  readonly subject: string | undefined;
  readonly createdAt: number;
  /** the code is refused from this very millisecond on */
  readonly expiresAt: number;
  /** when a resend is allowed */
  readonly resendAt: number;
  readonly attemptsLeft: number;
  readonly maxAttempts: number;
  readonly sends: number;
  readonly codeLength: number;
  /** one for each send, oldest first; a message's id holds the moment at which it was made */
  readonly messageIds: readonly string[];
  readonly metadata: Readonly<Record<string, string>> | undefined;
};

export function viewOf(verification: Verification, now: number): VerificationView {
  const { id, number, country, channel, locale, purpose, subject, createdAt, expiresAt, resendAt, sends, metadata } =
    verification;
  return {
    id,
    status: stateAt(verification, now),
    to: number,
    country,
    channel,
    locale,
    purpose,
    subject,
    createdAt,
    expiresAt,
    resendAt,
    attemptsLeft: verification.maxAttempts - verification.attempts,
    maxAttempts: verification.maxAttempts,
    sends,
    codeLength: verification.codeLength,
    messageIds: verification.messageIds,
    metadata,
  };
}
