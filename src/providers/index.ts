import type { TObject } from 'typebox';
import type { ProviderDefinition } from '../provider-kit/define-provider.ts';
import { twilio } from './twilio.ts';

/** Every provider that credentials can switch on, in the order in which an app without routes tries them. */
export const providerDefinitions: readonly ProviderDefinition<TObject>[] = [
  twilio as unknown as ProviderDefinition<TObject>,
];
