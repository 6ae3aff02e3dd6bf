import type { PhoneNumber } from './phone-number.ts';

/** The way a code travels. */
export const channels = ['sms', 'voice', 'whatsapp', 'telegram', 'email'] as const;
export type Channel = (typeof channels)[number];

/**
 * Why a hand-over failed. Routing acts on it:
 *
 * | reason | means | routing |
 * |---|---|---|
 * | `recipient` | no valid or willing number, whoever sends | stop, tell the caller |
 * | `blocked` | this provider may not send there (trial account, region, fraud guard); with `optOut` the person said STOP | next provider; with `optOut` stop, never bypass |
 * | `content` | text, template or sender ID refused | next provider, tell the operator |
 * | `coverage` | country, network or line not served by this provider | next provider |
 * | `account` | credentials, balance, suspension | next provider, mark this one down |
 * | `throttled` | asked to slow down | next provider, or wait |
 * | `unavailable` | surely not taken: no connection, or a refusal documented so | next provider |
 * | `uncertain` | may have been taken: timeout after sending, 500, unreadable 2xx | next provider at most once, with the same code |
 */
export type FailureReason =
  | 'recipient'
  | 'blocked'
  | 'content'
  | 'coverage'
  | 'account'
  | 'throttled'
  | 'unavailable'
  | 'uncertain';

/** One message on its way to one person, as a provider is handed it. */
export type OutgoingMessage = {
  /** Our id of the message; providers that take a client reference are given it. */
  readonly messageId: string;
  readonly to: PhoneNumber;
  readonly channel: Channel;
  /** The whole text, normalised, with the code in it. Never logged. */
  readonly text: string;
  readonly locale: string;
  /** How long the message is worth delivering: what is left of the code's life, in whole seconds, at least 1. */
  readonly validitySeconds: number;
  /** Where the provider may post delivery reports; absent when no public URL is configured. */
  readonly reportUrl?: string;
};

export type SendOutcome =
  | {
      readonly kind: 'accepted';
      /** The provider's own id of the message; delivery reports name it. */
      readonly providerMessageId: string;
      /** Segments as the provider counted them, where it says so. */
      readonly segments?: number;
    }
  | {
      readonly kind: 'failed';
      readonly reason: FailureReason;
      /** The provider's own error code, or the HTTP status: safe to log and to show an operator. */
      readonly code: string;
      /** The person asked this sender to stop: no other provider may be tried either. */
      readonly optOut?: true;
      readonly retryAfterMs?: number;
    };

/** States only move forward; see `deliveryRank`. */
export type DeliveryState = 'queued' | 'sent' | 'delivered' | 'undelivered' | 'failed' | 'unknown';

/** The provider's later word on a dispatch. */
export type DeliveryReport = {
  readonly providerMessageId: string;
  readonly state: DeliveryState;
  readonly reason?: FailureReason;
  readonly code?: string;
  /** As in `SendOutcome`: some providers learn of a STOP only after they took the message. */
  readonly optOut?: true;
};

/** A delivery report as it came in, before anything in it is believed. */
export type ReportRequest = {
  /** The full public URL that the provider was given, query included: signatures cover it. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly rawBody: Uint8Array;
};

export type ReportOutcome =
  | { readonly kind: 'reports'; readonly reports: readonly DeliveryReport[] }
  /** Signature missing or wrong, or a body that is not the provider's. */
  | { readonly kind: 'refused'; readonly why: 'forged' | 'malformed' };

/** Does the provider answer with these credentials? Asked without sending anything. */
export type ProbeOutcome =
  | { readonly kind: 'ready'; readonly detail?: string }
  | { readonly kind: 'failed'; readonly reason: FailureReason; readonly code: string; readonly fix: string };

/** A provider that carries our text. */
export interface MessagingProvider {
  /**
   * Hands one message over. Expected failures are returned, never thrown.
   * @param signal ends the attempt; the outcome is then `uncertain`, or `unavailable` when surely nothing was sent
   */
  send(message: OutgoingMessage, signal: AbortSignal): Promise<SendOutcome>;
  /** Reads a delivery report: signature first, then the states. Absent when the provider sends none. */
  parseReport?(request: ReportRequest): ReportOutcome;
  /** Tries the credentials without sending. Absent when the provider has no such call. */
  probe?(signal: AbortSignal): Promise<ProbeOutcome>;
  close?(): Promise<void>;
}
