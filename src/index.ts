import type { FileConfig } from './config/load.ts';

export { createCountersign, type Parts } from './compose.ts';
export type { FileConfig } from './config/load.ts';
export { ConfigError } from './config/load.ts';
export type { Money } from './domain/price.ts';
export { CountersignError, type ProblemCode, problemCodes, type Refusal } from './domain/problem.ts';
export type {
  Channel,
  DeliveryReport,
  FailureReason,
  ManagedCheck,
  ManagedCheckOutcome,
  ManagedProvider,
  ManagedStart,
  MessagingProvider,
  OutgoingMessage,
  ProbeOutcome,
  ReportOutcome,
  ReportRequest,
  SendOutcome,
} from './domain/provider.ts';
export type { Store } from './domain/store.ts';
export {
  accepted,
  defineManagedProvider,
  defineProvider,
  failed,
  type ManagedDefinition,
  type MessagingDefinition,
  type ProviderContext,
  type ProviderDefinition,
  reasonForStatus,
} from './provider-kit/define-provider.ts';
export type { HttpClient, HttpOptions, HttpReply, HttpSilence } from './provider-kit/http-client.ts';
export type { Approved, CheckAnswer, CheckByIdRequest, CheckByNumberRequest } from './service/check-verification.ts';
export type { Countersign, NumberView, VerificationAnswer } from './service/countersign.ts';
export type { ExplainRequest, RouteView } from './service/explain-route.ts';
export type { HealthView, ProviderView } from './service/provider-health.ts';
export type { UsageRequest, UsageView } from './service/read-usage.ts';
export type { ResendRequest } from './service/resend-verification.ts';
export type { SendAnswer, Started } from './service/send-code.ts';
export type { MessageAnswer, MessageRequest, MessageView } from './service/send-message.ts';
export type { StartRequest } from './service/start-verification.ts';
export type { VerificationView } from './service/views.ts';

/** Types a configuration file; gives back what it is given. */
export function defineConfig(config: FileConfig): FileConfig {
  return config;
}
