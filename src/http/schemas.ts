import { Type } from 'typebox';
import { channels } from '../domain/provider.ts';
import { MAX_FULL_NAME_CHARS, MAX_NAME_CHARS, NAME_PATTERN } from '../domain/user.ts';

const closed = { additionalProperties: false } as const;

const Instant = Type.String({ format: 'date-time', description: 'ISO 8601, UTC' });
// No minimum: an empty number is `number-invalid`, which says more than a shape does.
const Number_ = Type.String({
  maxLength: 64,
  description: 'E.164, or as its owner writes it',
  examples: ['+998901234567'],
});
const Recipient = Type.String({
  maxLength: 255,
  description: 'a number in E.164, or as its owner writes it; with the channel email also an e-mail address to verify',
  examples: ['+998901234567'],
});
const Country = Type.String({
  pattern: '^[A-Za-z]{2}$',
  description: 'ISO 3166-1 alpha-2, for a number in national form',
});
const Channel = Type.Enum([...channels]);
const Purpose = Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}$', description: '`login` unless told otherwise' });
const Subject = Type.String({
  maxLength: 255,
  // Half a surrogate pair and NUL come back from a store as something else, or are refused by it.
  pattern: '^[^\\u0000-\\u001f\\u007f\\ud800-\\udfff]+$',
  description: 'the signed-in user it belongs to; no control characters',
});
const ClientIp = Type.String({
  minLength: 2,
  maxLength: 45,
  description: "the end user's address, for the address limit; believed from an API key only",
});
const ApprovalToken = Type.String({
  minLength: 1,
  maxLength: 4096,
  description: 'token of an earlier approval of this number: its owner has a guess budget of its own',
});
const Platform = Type.Enum(['web', 'ios', 'android'], {
  description: 'what the person has the app on: the text then ends so that it can be filled in there',
});
const AppHash = Type.String({ maxLength: 20, description: 'of an Android app, where the configuration names several' });
const Email = Type.String({ minLength: 3, maxLength: 255, description: 'where a code by e-mail goes' });
const Amount = Type.Object(
  { amount: Type.Number({ description: "in the currency's unit" }), currency: Type.String({ examples: ['USD'] }) },
  { $id: 'Amount' },
);
const Code = Type.String({ maxLength: 40, description: 'as the person typed it' });

export const IdParams = Type.Object({ id: Type.String({ maxLength: 64 }) });

export const IdempotencyHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({ description: 'the same key and body give the same answer and no second message' }),
  ),
});

// The examples are what the API page fills in: without one it makes values up, which are refused.
export const StartBody = Type.Object(
  {
    to: Recipient,
    country: Type.Optional(Country),
    channel: Type.Optional(Channel),
    email: Type.Optional(Email),
    platform: Type.Optional(Platform),
    app_hash: Type.Optional(AppHash),
    locale: Type.Optional(
      Type.String({ minLength: 2, maxLength: 35, description: 'BCP 47; the language of the text' }),
    ),
    purpose: Type.Optional(Purpose),
    subject: Type.Optional(Subject),
    client_ip: Type.Optional(ClientIp),
    approval_token: Type.Optional(ApprovalToken),
    metadata: Type.Optional(
      // A record's keys are checked by their pattern alone, and only when all others are refused.
      Type.Record(Type.String({ pattern: '^[^\\u0000]{1,64}$' }), Type.String({ maxLength: 256 }), {
        maxProperties: 16,
        additionalProperties: false,
      }),
    ),
  },
  { ...closed, examples: [{ to: '+998901234567' }] },
);

export const ResendBody = Type.Object(
  {
    channel: Type.Optional(Channel),
    client_ip: Type.Optional(ClientIp),
    platform: Type.Optional(Platform),
    app_hash: Type.Optional(AppHash),
  },
  { ...closed, examples: [{}] },
);

export const CheckByIdBody = Type.Object(
  { code: Code, purpose: Type.Optional(Purpose), subject: Type.Optional(Subject) },
  { ...closed, examples: [{ code: '042917' }] },
);

export const CheckByNumberBody = Type.Object(
  {
    to: Recipient,
    country: Type.Optional(Country),
    code: Code,
    purpose: Type.Optional(Purpose),
    subject: Type.Optional(Subject),
    approval_token: Type.Optional(ApprovalToken),
  },
  { ...closed, examples: [{ to: '+998901234567', code: '042917' }] },
);

const verificationFields = {
  id: Type.String({ examples: ['ver_01jd3n8v4kq2xw7c9r5t6y0abz'] }),
  status: Type.Enum(['pending', 'approved', 'expired', 'canceled', 'exhausted']),
  to: Type.String({ description: 'E.164, or the e-mail address that is verified' }),
  country: Type.Optional(Type.String()),
  channel: Channel,
  locale: Type.String(),
  purpose: Type.String(),
  subject: Type.Optional(Type.String()),
  created_at: Instant,
  expires_at: Instant,
  resend_at: Instant,
  attempts_left: Type.Integer(),
  sends: Type.Integer(),
  metadata: Type.Optional(Type.Record(Type.String(), Type.String())),
};

export const VerificationBody = Type.Object(verificationFields, { $id: 'Verification' });
export const StartedBody = Type.Object(
  { ...verificationFields, code: Type.Optional(Type.String({ description: 'in development mode only' })) },
  { $id: 'StartedVerification' },
);
export const ApprovedBody = Type.Object(
  {
    ...verificationFields,
    token: Type.String({ description: 'JWT (EdDSA): any service can check it against /.well-known/jwks.json' }),
  },
  { $id: 'ApprovedVerification' },
);

export const MessageRequestBody = Type.Object(
  {
    to: Number_,
    country: Type.Optional(Country),
    text: Type.String({ maxLength: 4000 }),
    channel: Type.Optional(Channel),
  },
  { ...closed, examples: [{ to: '+998901234567', text: 'Your driver is here.' }] },
);

export const MessageBody = Type.Object(
  {
    id: Type.String(),
    status: Type.Enum(['pending', 'queued', 'sent', 'delivered', 'undelivered', 'failed', 'unknown']),
    to: Type.String(),
    country: Type.Optional(Type.String()),
    channel: Channel,
    encoding: Type.Enum(['GSM-7', 'UCS-2']),
    segments: Type.Integer({ description: 'what is billed' }),
    verification_id: Type.Optional(Type.String()),
    text: Type.Optional(Type.String({ description: 'of a custom message; a text with a code is never shown' })),
    created_at: Instant,
    dispatches: Type.Array(
      Type.Object({
        provider: Type.String(),
        channel: Channel,
        status: Type.String(),
        cost: Type.Optional(Amount),
        cost_basis: Type.Optional(
          Type.Enum(['estimated', 'reported'], { description: "by the price table, or the provider's own word" }),
        ),
        provider_message_id: Type.Optional(Type.String()),
        reason: Type.Optional(Type.String()),
        error_code: Type.Optional(Type.String({ description: "the provider's own" })),
        at: Instant,
      }),
    ),
  },
  { $id: 'Message' },
);

export const MessageListQuery = Type.Object(
  {
    to: Type.Optional(Number_),
    before: Type.Optional(Type.String({ maxLength: 64, description: '`next` of the page before' })),
    limit: Type.Optional(
      Type.String({ pattern: '^([1-9]\\d?|100)$', description: '1 to 100, 50 unless told otherwise' }),
    ),
  },
  closed,
);

export const MessageListBody = Type.Object(
  { messages: Type.Array(MessageBody), next: Type.Optional(Type.String()) },
  { $id: 'MessageList' },
);

export const NumberBody = Type.Object(
  {
    number: Type.String({ description: 'E.164' }),
    country: Type.Optional(Type.String()),
    line_type: Type.String(),
    national: Type.String(),
    locale: Type.String({ description: 'the language that a text to it has' }),
    market: Type.Optional(Type.String({ description: "one of the app's markets, where it has any", examples: ['KG'] })),
    currency: Type.Optional(Type.String({ description: 'what people pay with in that market', examples: ['KGS'] })),
  },
  { $id: 'Number' },
);

export const UserBody = Type.Object(
  {
    id: Type.String({ description: 'unlike any other of the app, and never given again', examples: ['1'] }),
    name: Type.String({ description: 'the national number, until the user says otherwise', examples: ['555123456'] }),
    phone: Type.String({ description: 'E.164', examples: ['+996555123456'] }),
    full_name: Type.String(),
    is_active: Type.Boolean(),
    is_verified: Type.Boolean(),
  },
  { $id: 'User' },
);

export const UpdateUserBody = Type.Object(
  {
    name: Type.Optional(Type.String({ minLength: 1, maxLength: MAX_NAME_CHARS, pattern: NAME_PATTERN })),
    full_name: Type.Optional(Type.String({ maxLength: MAX_FULL_NAME_CHARS, pattern: NAME_PATTERN })),
  },
  { ...closed, examples: [{ full_name: 'Aizada Usenova' }] },
);

export const ExplainBody = Type.Object(
  {
    to: Number_,
    country: Type.Optional(Country),
    channel: Type.Optional(Channel),
    has_email: Type.Optional(Type.Boolean({ description: 'would the request for a code give an e-mail address' })),
    locale: Type.Optional(Type.String({ minLength: 2, maxLength: 35 })),
  },
  { ...closed, examples: [{ to: '+998901234567' }] },
);

const health = {
  state: Type.Enum(['closed', 'open', 'trial'], {
    description: 'of its circuit breaker: `open` is passed by, `trial` gets one message to show that it is well again',
  }),
  reason: Type.Optional(Type.String({ description: 'why it was taken out' })),
  open_until: Type.Optional(Instant),
};

export const RouteBody = Type.Object(
  {
    to: Type.String({ description: 'E.164' }),
    country: Type.Optional(Type.String()),
    line_type: Type.String(),
    locale: Type.String(),
    segments: Type.Integer(),
    route: Type.String({ description: "the app's route that holds: a prefix, a country, or *" }),
    tried: Type.Array(
      Type.Object({
        provider: Type.String(),
        channel: Channel,
        ...health,
        price: Type.Optional(Amount),
        deadline_seconds: Type.Number(),
      }),
      { description: 'in this order' },
    ),
    passed_by: Type.Array(Type.Object({ provider: Type.String(), why: Type.String() })),
  },
  { $id: 'Route' },
);

export const ProviderListBody = Type.Object(
  {
    providers: Type.Array(
      Type.Object({
        provider: Type.String(),
        ...health,
        countries: Type.Array(Type.Object({ country: Type.String(), ...health }), {
          description: 'where it is out of order in some countries only',
        }),
      }),
    ),
  },
  { $id: 'ProviderList' },
);

const Day = Type.String({ maxLength: 10, description: 'UTC, e.g. 2026-11-20' });

export const UsageQuery = Type.Object({ from: Type.Optional(Day), to: Type.Optional(Day) }, closed);

export const UsageBody = Type.Object(
  {
    from: Type.String(),
    to: Type.String(),
    usage: Type.Array(
      Type.Object({
        day: Type.String(),
        provider: Type.String(),
        country: Type.Optional(Type.String()),
        sent: Type.Integer({ description: 'hand-overs that the provider took, or may have taken' }),
        codes: Type.Integer({ description: 'those of them that carried a code' }),
        delivered: Type.Integer(),
        failed: Type.Integer({ description: 'refused, or not delivered' }),
        approved: Type.Integer({ description: 'verifications approved whose code it carried last' }),
        conversion: Type.Optional(Type.Number({ description: '`approved` of `codes`, 0 to 1' })),
        cost: Type.Optional(Amount),
        wasted_cost: Type.Optional(Amount),
      }),
    ),
  },
  { $id: 'Usage' },
);
