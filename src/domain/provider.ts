import type { PhoneNumber } from './phone-number.ts';
import type { Money } from './price.ts';

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
  /** The code that is in the text, for channels with a wording of their own; absent for a custom message. Never logged. */
  readonly code?: string;
  /** The app's name, as people know it. */
  readonly brand: string;
  /** BCP 47; the language of the text. */
  readonly locale: string;
  /** Where the channel is `email`: the address. */
  readonly email?: string;
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
      /** What it will charge, where it says so at once. */
      readonly cost?: Money;
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
  /** What it charged for the whole message, where it says so. */
  readonly cost?: Money;
};

/** A delivery report as it came in, before anything in it is believed. */
export type ReportRequest = {
  /** Some vendors put everything into the query of a GET. */
  readonly method: 'GET' | 'POST';
  /** The full public URL that the provider was given, query included: signatures cover it. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly rawBody: Uint8Array;
};

export type ReportOutcome =
  | { readonly kind: 'reports'; readonly reports: readonly DeliveryReport[] }
  /** The vendor asks whether this address is ours, and is to be answered with that text. */
  | { readonly kind: 'handshake'; readonly answer: string }
  /** Signature missing or wrong, or a body that is not the provider's. */
  | { readonly kind: 'refused'; readonly why: 'forged' | 'malformed' };

/** Does the provider answer with these credentials? Asked without sending anything. */
export type ProbeOutcome =
  | { readonly kind: 'ready'; readonly detail?: string }
  | { readonly kind: 'failed'; readonly reason: FailureReason; readonly code: string; readonly fix: string };

/** What both kinds of providers may have. */
interface AnyProvider {
  /** Reads a delivery report: signature first, then the states. Absent when the provider posts none. */
  parseReport?(request: ReportRequest): ReportOutcome;
  /**
   * Asks what became of a message. Absent when there is no such call; undefined when the provider does not know, or
   * did not answer.
   * @param providerMessageId as in `SendOutcome`
   */
  fetchReport?(providerMessageId: string, signal: AbortSignal): Promise<DeliveryReport | undefined>;
  /** Hands over reports that come by a connection of the provider's own instead of a request (SMPP). */
  onReport?(listener: (report: DeliveryReport) => void): void;
  /** Tries the credentials without sending. Absent when the provider has no such call. */
  probe?(signal: AbortSignal): Promise<ProbeOutcome>;
  close?(): Promise<void>;
}

/** A provider that carries our text, or at least our code. */
export interface MessagingProvider extends AnyProvider {
  /**
   * Hands one message over. Expected failures are returned, never thrown.
   * @param signal ends the attempt; the outcome is then `uncertain`, or `unavailable` when surely nothing was sent
   */
  send(message: OutgoingMessage, signal: AbortSignal): Promise<SendOutcome>;
}

/** One request for a code that the provider makes itself. */
export type ManagedStart = Omit<OutgoingMessage, 'text' | 'code'> & {
  /**
   * What `start` gave for this verification the last time. Any other code that the provider still holds for the number
   * belongs to another verification, and must not be sent or accepted for this one.
   */
  readonly previousId?: string;
};

/** What is asked about a code that a managed provider made. */
export type ManagedCheck = {
  /** What `start` gave as `providerMessageId`. */
  readonly providerMessageId: string;
  readonly to: PhoneNumber;
  readonly code: string;
};

export type ManagedCheckOutcome =
  | { readonly kind: 'approved' }
  | { readonly kind: 'wrong' }
  /** The provider holds no such verification any more: expired there, used up, or approved before. */
  | { readonly kind: 'gone' }
  | { readonly kind: 'failed'; readonly reason: FailureReason; readonly code: string };

/** A provider that makes and checks the code itself. Counts, limits and states stay ours. */
export interface ManagedProvider extends AnyProvider {
  /** Makes a code and sends it; for the same verification again, the same code. Expected failures are returned. */
  start(request: ManagedStart, signal: AbortSignal): Promise<SendOutcome>;
  /** Compares one code. Expected failures are returned. */
  check(request: ManagedCheck, signal: AbortSignal): Promise<ManagedCheckOutcome>;
}
