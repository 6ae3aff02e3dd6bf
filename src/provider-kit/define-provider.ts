import type { Static, TObject } from 'typebox';
import type { Money } from '../domain/price.ts';
import type { Channel, FailureReason, ManagedProvider, MessagingProvider, SendOutcome } from '../domain/provider.ts';
import type { HttpClient } from './http-client.ts';

/** What a provider is given besides its own settings. */
export type ProviderContext = {
  /** ms since the epoch */
  readonly now: () => number;
  readonly http: HttpClient;
};

type AnyDefinition<Settings extends TObject> = {
  /** The provider's name in routes, logs and the API: lower case, `-` between words. */
  readonly id: string;
  /** The first one is used where a route does not say otherwise. */
  readonly channels: readonly [Channel, ...Channel[]];
  /** Countries it delivers to, ISO 3166-1 alpha-2; everywhere when absent. */
  readonly countries?: readonly string[];
  /** It has a wording of its own, into which only a code fits: custom messages do not go through it. */
  readonly codesOnly?: true;
  /** Settings of the provider, credentials marked `secret: true`. Unknown keys are refused. */
  readonly settings: Settings;
  /** Which environment variable fills which setting, e.g. `{ TWILIO_ACCOUNT_SID: 'accountSid' }`. */
  readonly environment: Readonly<Record<string, keyof Static<Settings> & string>>;
  /**
   * The variable whose presence opens the provider, where any of `environment` would open too many: one that it shares
   * with another provider.
   */
  readonly enabledBy?: string;
  /**
   * What the schema cannot say, e.g. "one of the two"; each fault names the environment variables.
   * @param place where the entry stands in the file, for a provider that has no variables: `providers.sms-uz`
   */
  readonly faults?: (settings: Static<Settings>, place?: string) => readonly string[];
};

/** A provider that carries our code, before it has credentials. */
export type MessagingDefinition<Settings extends TObject = TObject> = AnyDefinition<Settings> & {
  readonly kind: 'messaging';
  /** Opens the provider. An SDK is imported here, so that it costs nothing while the provider is not configured. */
  readonly create: (
    settings: Static<Settings>,
    context: ProviderContext,
  ) => MessagingProvider | Promise<MessagingProvider>;
};

/** A provider that makes and checks the code itself, before it has credentials. */
export type ManagedDefinition<Settings extends TObject = TObject> = AnyDefinition<Settings> & {
  readonly kind: 'managed';
  readonly create: (settings: Static<Settings>, context: ProviderContext) => ManagedProvider | Promise<ManagedProvider>;
};

export type ProviderDefinition<Settings extends TObject = TObject> =
  | MessagingDefinition<Settings>
  | ManagedDefinition<Settings>;

/** Checks the definition's types; a provider file's one export. */
export function defineProvider<Settings extends TObject>(
  definition: MessagingDefinition<Settings>,
): MessagingDefinition<Settings> {
  return definition;
}

/** As `defineProvider`, for a provider that makes and checks the code itself. */
export function defineManagedProvider<Settings extends TObject>(
  definition: ManagedDefinition<Settings>,
): ManagedDefinition<Settings> {
  return definition;
}

export function accepted(
  providerMessageId: string,
  more: { readonly segments?: number | undefined; readonly cost?: Money | undefined } = {},
): SendOutcome {
  const { segments, cost } = more;
  return {
    kind: 'accepted',
    providerMessageId,
    ...(segments === undefined ? {} : { segments }),
    ...(cost === undefined ? {} : { cost }),
  };
}

export function failed(
  reason: FailureReason,
  code: string,
  more: { readonly optOut?: true; readonly retryAfterMs?: number } = {},
): Extract<SendOutcome, { kind: 'failed' }> {
  return { kind: 'failed', reason, code, ...more };
}

/** The meaning of a bare HTTP status, for a provider that said nothing more exact. */
export function reasonForStatus(status: number): FailureReason {
  if (status === 401 || status === 402 || status === 403) return 'account';
  // A 503 is of a server that does not handle the request now (RFC 9110, section 15.6.4); 502 and 504 may come after it did.
  if (status === 408 || status >= 500) return status === 503 ? 'unavailable' : 'uncertain';
  if (status === 429) return 'throttled';
  return status >= 400 ? 'content' : 'uncertain';
}
