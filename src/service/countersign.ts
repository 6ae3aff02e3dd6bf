import type { JSONWebKeySet } from 'jose';
import { firstIdAt } from '../domain/id.ts';
import { type Market, marketOf } from '../domain/market.ts';
import { formatNational, type ParsedNumber } from '../domain/phone-number.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import type { ProbeOutcome, ReportRequest } from '../domain/provider.ts';
import type { ShadowEntry, ShadowQuery } from '../domain/shadow.ts';
import type { ApiKey } from '../domain/store.ts';
import { createApiKey, createKeyVerifier, type KeyVerifier } from './api-keys.ts';
import { type BearerOutcome, createBearerVerifier } from './bearers.ts';
import { cancelVerification } from './cancel-verification.ts';
import {
  type CheckAnswer,
  type CheckByIdRequest,
  type CheckByNumberRequest,
  type CheckBySubjectRequest,
  checkVerification,
  unknownRefusal,
} from './check-verification.ts';
import { appOf, type ServiceContext } from './context.ts';
import { createEraser, type Erased, type EraseRequest, eraseNumber } from './erase-number.ts';
import { type ExplainRequest, explainRoute } from './explain-route.ts';
import { approveVerification, type FindRequest, findVerification } from './find-verification.ts';
import type { ProviderView } from './provider-health.ts';
import { readUsage, type UsageRequest } from './read-usage.ts';
import { type DeliveryAnswer, recordDelivery } from './record-delivery.ts';
import { parseRecipient, parseVerified } from './request.ts';
import { type ResendRequest, resendVerification } from './resend-verification.ts';
import { type Resources, resourcesOf } from './resources.ts';
import { providersOf } from './routing.ts';
import type { SendAnswer } from './send-code.ts';
import {
  type MessageAnswer,
  type MessageRequest,
  type MessageView,
  messageViewOf,
  sendMessage,
} from './send-message.ts';
import { DEFAULT_APP, type StartRequest, startVerification } from './start-verification.ts';
import { localeFor } from './texts.ts';
import {
  eraseUser,
  findUserByToken,
  getUser,
  type SignInAnswer,
  type SignInRequest,
  type SignOutAnswer,
  signIn,
  signOut,
  signOutEverywhere,
  type TokenAnswer,
  type UpdateUserRequest,
  type UserAnswer,
  type UserRequest,
  updateUser,
} from './users.ts';
import { type VerificationView, viewOf } from './views.ts';

export type NumberView = {
  /** E.164 */
  readonly number: string;
  readonly country: string | undefined;
  readonly lineType: ParsedNumber['lineType'];
  /** as its owner writes it */
  readonly national: string;
  /** the language that a text to it has */
  readonly locale: string;
  /** undefined where the app has no markets, or it is in none of them and cannot be sent to */
  readonly market: Market | undefined;
};

type ById = { readonly app?: string; readonly id: string };

/**
 * The face of the service: every surface (HTTP, CLI, dialects, an app that uses the library) is built on this and
 * nothing else. What is expected is returned (`kind: 'refused'` with a stable `code`); only what the operator has to
 * act on is thrown, as `CountersignError`.
 */
export interface Countersign {
  readonly verifications: {
    /**
     * Sends a code to a number.
     * @example
     * const started = await countersign.verifications.start({ to: '+998901234567' });
     * if (started.kind === 'refused') return reply(started.code, started.detail);
     * remember(started.verification.id);
     */
    start(request: StartRequest): Promise<SendAnswer>;
    /** Sends the code once more, after `resendAt`: the same one, or a new one where the app says `replace`. */
    resend(request: ResendRequest): Promise<SendAnswer>;
    /**
     * Checks what the person typed, by the verification's id, by number, or by the signed-in subject alone.
     * @example
     * const answer = await countersign.verifications.check({ id, code: typed });
     * if (answer.kind === 'approved') signIn(answer.verification.to, answer.token);
     */
    check(request: CheckByIdRequest | CheckByNumberRequest | CheckBySubjectRequest): Promise<CheckAnswer>;
    /** The caller compared the code itself, and says that it was right. Only from `pending`, and once. */
    approve(request: ById): Promise<VerificationAnswer>;
    /** Ends a pending verification: its code is worth nothing from then on. */
    cancel(request: ById): Promise<VerificationAnswer>;
    get(request: ById): Promise<VerificationAnswer>;
    /** The newest verification of a number and purpose (and subject, where there is one), live or ended. */
    find(request: FindRequest): Promise<VerificationAnswer>;
  };
  readonly messages: {
    /**
     * Sends a text of your own.
     * @example
     * await countersign.messages.send({ to: '+998901234567', text: 'Your driver is here.' });
     */
    send(request: MessageRequest): Promise<MessageAnswer>;
    get(request: ById): Promise<{ readonly kind: 'found'; readonly message: MessageView } | Refusal>;
    /**
     * Newest first.
     * @param query `before`: the id of the last message of the page before; `before` and `after` may also be moments, in ms
     * since the epoch: made before that one, made at that one or later
     */
    list(query?: {
      readonly app?: string;
      readonly limit?: number;
      readonly before?: string | number;
      readonly after?: string | number;
      readonly to?: string;
      /** the messages of one verification */
      readonly verification?: string;
      readonly carries?: 'code' | 'text';
    }): Promise<{ readonly kind: 'found'; readonly messages: readonly MessageView[] } | Refusal>;
  };
  readonly resources: Resources;
  readonly numbers: {
    /** What is known of a number without asking anybody. */
    parse(request: {
      readonly app?: string;
      readonly to: string;
      readonly country?: string;
    }): { readonly kind: 'parsed'; readonly number: NumberView } | Refusal;
    /**
     * Erases what the app has of a number: its user, verifications and messages. Counters stay as long as a rule needs
     * them: else it would be a way to guess anew.
     */
    erase(request: EraseRequest): Promise<Erased | Refusal>;
  };
  /** For apps that have no users of their own. */
  readonly users: {
    /**
     * Finds the user of the approved number or makes it, and an access token that is good for 30 days.
     * @example
     * const answer = await countersign.verifications.check({ id, code: typed });
     * if (answer.kind === 'refused') return reply(answer.detail);
     * const signedIn = await countersign.users.signIn({ approved: answer });
     */
    signIn(request: SignInRequest): Promise<SignInAnswer>;
    /** Whose access token it is, and of which app. */
    ofToken(accessToken: string): Promise<TokenAnswer>;
    get(request: UserRequest): Promise<UserAnswer>;
    /** Changes what is named, and leaves the rest as it is. */
    update(request: UpdateUserRequest): Promise<UserAnswer>;
    /** Revokes one access token, at once. */
    signOut(accessToken: string): Promise<SignOutAnswer>;
    /** Revokes all access tokens of a user, at once. */
    signOutEverywhere(request: UserRequest): Promise<SignOutAnswer>;
    /** Erases a user and whatever its app has of its number, as `numbers.erase` does. */
    erase(request: UserRequest): Promise<Erased | Refusal>;
  };
  readonly bearers: {
    /** Who is calling, by the bearer token of an app's signed-in user; nobody where the app takes none. */
    verify(request: { readonly app?: string; readonly token: string }): Promise<BearerOutcome>;
  };
  readonly providers: {
    /** Ids of the opened providers. */
    list(): readonly string[];
    /** Tries the credentials without sending; undefined when the provider offers no such call. */
    probe(id: string, signal: AbortSignal): Promise<ProbeOutcome | undefined>;
    /** Takes a provider's delivery report. */
    report(id: string, request: ReportRequest): Promise<DeliveryAnswer>;
    /** How the providers are, as this process has seen it. @param request `app`: those of its routes alone */
    health(request?: { readonly app?: string }): readonly ProviderView[];
  };
  readonly routes: {
    /** Which providers would be tried for a code to that number now, in which order, and why not the others. */
    explain(request: ExplainRequest): ReturnType<typeof explainRoute>;
  };
  /** What shadow mode found out: how the answers of old back ends differ from ours. */
  readonly shadow: {
    read(query: ShadowQuery): Promise<readonly ShadowEntry[]>;
  };
  readonly usage: {
    /** What was sent, delivered, approved and spent, by day, app, provider and country. */
    read(request: UsageRequest): ReturnType<typeof readUsage>;
  };
  readonly tokens: {
    /** The public keys under which tokens can be checked. */
    jwks(): Promise<JSONWebKeySet>;
    /** Makes a new key, which signs once all nodes know it, in 20 s; tokens signed before stay valid. @returns its id */
    rotate(): Promise<string>;
  };
  readonly keys: {
    /** @returns `key`, which is shown this once and stored nowhere */
    create(request: {
      readonly app: string;
      readonly name: string;
    }): Promise<{ readonly key: string; readonly kept: ApiKey }>;
    list(): Promise<readonly ApiKey[]>;
    /** False when there is no such key. */
    revoke(id: string): Promise<boolean>;
    /** The app of a key, undefined when the key is not good. */
    verify(key: string): ReturnType<KeyVerifier>;
  };
  /** Rejects with a `CountersignError` when the store cannot be written. */
  ready(): Promise<void>;
  /** Lets what is under way finish, and closes store and providers. */
  close(): Promise<void>;
}

export type VerificationAnswer = { readonly kind: 'found'; readonly verification: VerificationView } | Refusal;

function messageIdAt(place: string | number): string {
  return typeof place === 'string' ? place : firstIdAt('msg', place);
}

export function countersignOf(context: ServiceContext, close: () => Promise<void>): Countersign {
  const { store, now } = context;
  const verifyKey = createKeyVerifier(store);
  const eraser = createEraser(context);
  const { underWay } = context;
  const ofToken = (accessToken: string) => findUserByToken(context, accessToken);
  const bearers = new Map(
    [...context.apps.values()].flatMap(({ id, bearer }) => {
      if (bearer === undefined) return [];
      return [[id, createBearerVerifier(bearer, { app: id, now, log: context.log, users: { ofToken } })] as const];
    }),
  );
  return {
    verifications: {
      start: (request) => underWay.add(startVerification(context, request)),
      resend: (request) => underWay.add(resendVerification(context, request)),
      check: (request) => underWay.add(checkVerification(context, request)),
      cancel: (request) => underWay.add(cancelVerification(context, request)),
      approve: (request) => underWay.add(approveVerification(context, request)),
      find: (request) => findVerification(context, request),
      async get({ app = DEFAULT_APP, id }) {
        const verification = await store.getVerification(appOf(context, app).id, id);
        return verification === undefined
          ? unknownRefusal()
          : { kind: 'found', verification: viewOf(verification, now()) };
      },
    },
    messages: {
      send: (request) => underWay.add(sendMessage(context, request)),
      async get({ app = DEFAULT_APP, id }) {
        const message = await store.getMessage(appOf(context, app).id, id);
        return message === undefined
          ? refuse('message-unknown', 'There is no such message.')
          : { kind: 'found', message: messageViewOf(context, message) };
      },
      async list({ app = DEFAULT_APP, limit = 50, before, after, to, verification, carries } = {}) {
        const recipient = to === undefined ? undefined : parseVerified(appOf(context, app), to, undefined);
        if (recipient !== undefined && 'kind' in recipient) return recipient;
        const messages = await store.listMessages(appOf(context, app).id, {
          limit,
          ...(before === undefined ? {} : { before: messageIdAt(before) }),
          ...(after === undefined ? {} : { after: messageIdAt(after) }),
          ...(recipient === undefined ? {} : { number: recipient.number.number }),
          ...(verification === undefined ? {} : { verificationId: verification }),
          ...(carries === undefined ? {} : { carries }),
        });
        return { kind: 'found', messages: messages.map((message) => messageViewOf(context, message)) };
      },
    },
    resources: resourcesOf(context),
    numbers: {
      parse({ app = DEFAULT_APP, to, country }) {
        const recipient = parseRecipient(appOf(context, app), to, country);
        if ('kind' in recipient) return recipient;
        const { number, country: itsCountry, lineType } = recipient.number;
        const locale = localeFor(appOf(context, app), undefined, recipient.number);
        const market = marketOf(appOf(context, app).markets, recipient.number);
        return {
          kind: 'parsed',
          number: { number, country: itsCountry, lineType, national: formatNational(number), locale, market },
        };
      },
      erase: (request) => underWay.add(eraseNumber(context, eraser, request)),
    },
    users: {
      signIn: (request) => underWay.add(signIn(context, request)),
      ofToken,
      get: (request) => getUser(context, request),
      update: (request) => underWay.add(updateUser(context, request)),
      signOut: (accessToken) => underWay.add(signOut(context, accessToken)),
      signOutEverywhere: (request) => underWay.add(signOutEverywhere(context, request)),
      erase: (request) => underWay.add(eraseUser(context, eraser, request)),
    },
    bearers: {
      verify: async ({ app = DEFAULT_APP, token }) =>
        (await bearers.get(appOf(context, app).id)?.verify(token)) ?? { kind: 'refused', why: 'invalid' },
    },
    providers: {
      list: () => [...context.providers.keys()],
      probe: async (id, signal) => context.providers.get(id)?.provider.probe?.(signal),
      report: (id, request) => underWay.add(recordDelivery(context, id, request)),
      health({ app } = {}) {
        const ids = app === undefined ? [...context.providers.keys()] : providersOf(appOf(context, app));
        return ids.map((provider) => context.health.viewOf(provider));
      },
    },
    routes: { explain: (request) => explainRoute(context, request) },
    shadow: { read: (query) => store.readShadow(query) },
    usage: { read: (request) => readUsage(context, request) },
    tokens: {
      jwks: () => context.tokens.jwks(now()),
      rotate: () => context.tokens.rotate(now()),
    },
    keys: {
      create: ({ app, name }) => createApiKey(store, appOf(context, app).id, name, now(), context.randomBytes),
      list: () => store.listApiKeys(),
      revoke: (id) => store.revokeApiKey(id, now()),
      verify: (key) => verifyKey(key, now()),
    },
    ready: () => store.probe(now()),
    async close() {
      await underWay.settled();
      await close();
    },
  };
}
