import type { Static, TObject } from 'typebox';
import type { Channel, FailureReason, MessagingProvider, SendOutcome } from '../domain/provider.ts';

/** What a provider is given besides its own settings. */
export type ProviderContext = {
  /** ms since the epoch */
  readonly now: () => number;
};

/** A messaging provider, before it has credentials. */
export type ProviderDefinition<Settings extends TObject = TObject> = {
  /** The provider's name in routes, logs and the API: lower case, `-` between words. */
  readonly id: string;
  readonly kind: 'messaging';
  readonly channels: readonly [Channel, ...Channel[]];
  /** Settings of the provider, credentials marked `secret: true`. Unknown keys are refused. */
  readonly settings: Settings;
  /** Which environment variable fills which setting, e.g. `{ TWILIO_ACCOUNT_SID: 'accountSid' }`. */
  readonly environment: Readonly<Record<string, keyof Static<Settings> & string>>;
  /** What the schema cannot say, e.g. "one of the two"; each fault names the environment variables. */
  readonly faults?: (settings: Static<Settings>) => readonly string[];
  /** Opens the provider. An SDK is imported here, so that it costs nothing while the provider is not configured. */
  readonly create: (
    settings: Static<Settings>,
    context: ProviderContext,
  ) => MessagingProvider | Promise<MessagingProvider>;
};

/** Checks the definition's types; a provider file's one export. */
export function defineProvider<Settings extends TObject>(
  definition: ProviderDefinition<Settings>,
): ProviderDefinition<Settings> {
  return definition;
}

export function accepted(providerMessageId: string, segments?: number): SendOutcome {
  return { kind: 'accepted', providerMessageId, ...(segments === undefined ? {} : { segments }) };
}

export function failed(
  reason: FailureReason,
  code: string,
  more: { readonly optOut?: true; readonly retryAfterMs?: number } = {},
): SendOutcome {
  return { kind: 'failed', reason, code, ...more };
}

/** The meaning of a bare HTTP status, for a provider that said nothing more exact. */
export function reasonForStatus(status: number): FailureReason {
  if (status === 401 || status === 402 || status === 403) return 'account';
  if (status === 408 || status >= 500) return status === 503 ? 'unavailable' : 'uncertain';
  if (status === 429) return 'throttled';
  return status >= 400 ? 'content' : 'uncertain';
}
