import type { CountryCode, PhoneNumber } from './phone-number.ts';
import type { Channel, DeliveryState, FailureReason } from './provider.ts';

/** A text on its way to one person: a verification's code, or a custom message. Instants are ms since the epoch. */
export type Message = {
  readonly id: string;
  readonly app: string;
  /** absent for a custom message */
  readonly verificationId: string | undefined;
  readonly number: PhoneNumber;
  readonly country: CountryCode | undefined;
  readonly channel: Channel;
  readonly locale: string;
  readonly encoding: 'GSM-7' | 'UCS-2';
  readonly segments: number;
  /** A custom message's text, sealed under the installation's key; a code's text is made anew from its nonce. */
  readonly sealedText: Uint8Array | undefined;
  /** which code of the verification the text carries */
  readonly codeNumber: number;
  /** of the request that asked for it, so that its answer can be kept even after a crash */
  readonly idempotencyKey: string | undefined;
  readonly state: MessageState;
  readonly createdAt: number;
  /** after this moment it is not worth delivering any more */
  readonly validUntil: number;
  readonly dispatches: readonly Dispatch[];
};

/**
 * `pending`: stored, and some node is handing it over (or died doing so: see `Store.claimOrphans`). Then the state of
 * its last dispatch.
 */
export type MessageState = 'pending' | DeliveryState;

/** One hand-over of a message to one provider. */
export type Dispatch = {
  readonly provider: string;
  readonly state: DeliveryState;
  readonly providerMessageId: string | undefined;
  readonly reason: FailureReason | 'expired' | undefined;
  /** the provider's own error code */
  readonly errorCode: string | undefined;
  readonly at: number;
};

const ranks: Record<DeliveryState, number> = {
  unknown: 0,
  queued: 1,
  sent: 2,
  delivered: 3,
  undelivered: 3,
  failed: 3,
};

/** Reports arrive late, twice and out of order: a state only ever moves forward, and the first final one stays. */
export function isForward(from: DeliveryState, to: DeliveryState): boolean {
  return ranks[to] > ranks[from];
}
