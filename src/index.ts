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
export type { ShadowEntry, ShadowQuery } from './domain/shadow.ts';
export type { Store } from './domain/store.ts';
export {
  answer,
  type BodyFault,
  type Caller,
  type Dialect,
  type DialectAnswer,
  type DialectRequest,
  type DialectRoute,
  type DialectService,
  defineDialect,
  dialectRoute,
  type Framework,
  kindOf,
  ok,
  type RefusalKind,
} from './http/dialects/dialect.ts';
export { django } from './http/dialects/django.ts';
export { fastApi } from './http/dialects/fastapi.ts';
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
export type {
  Approved,
  CheckAnswer,
  CheckByIdRequest,
  CheckByNumberRequest,
  CheckBySubjectRequest,
  CodeLengths,
} from './service/check-verification.ts';
export type { Countersign, NumberView, VerificationAnswer } from './service/countersign.ts';
export type { Erased, EraseRequest } from './service/erase-number.ts';
export type { ExplainRequest, RouteView } from './service/explain-route.ts';
export type { FindRequest } from './service/find-verification.ts';
export type { HealthView, ProviderView } from './service/provider-health.ts';
export type { UsageRequest, UsageView } from './service/read-usage.ts';
export type { NamedLimit } from './service/request.ts';
export type { ResendRequest } from './service/resend-verification.ts';
export type { Resources } from './service/resources.ts';
export type { SendAnswer, Started } from './service/send-code.ts';
export type { MessageAnswer, MessageRequest, MessageView } from './service/send-message.ts';
export type { StartRequest } from './service/start-verification.ts';
export type {
  SignedIn,
  SignInAnswer,
  SignInRequest,
  SignOutAnswer,
  TokenAnswer,
  UpdateUserRequest,
  UserAnswer,
  UserRequest,
  UserView,
} from './service/users.ts';
export type { VerificationView } from './service/views.ts';

/** Types a configuration file; gives back what it is given. */
export function defineConfig(config: FileConfig): FileConfig {
  return config;
}
