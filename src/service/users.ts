import { hash } from 'node:crypto';
import { parsePhoneNumber } from '../domain/phone-number.ts';
import { type Refusal, refuse } from '../domain/problem.ts';
import {
  ACCESS_TOKEN_BYTES,
  ACCESS_TOKEN_TTL_SECONDS,
  firstNameOf,
  isAccessToken,
  isFullName,
  isName,
  isUserId,
  MAX_FULL_NAME_CHARS,
  MAX_NAME_CHARS,
  type User,
} from '../domain/user.ts';
import type { Approved } from './check-verification.ts';
import { appOf, type ServiceContext } from './context.ts';
import type { Erased, Eraser } from './erase-number.ts';
import { DEFAULT_APP } from './start-verification.ts';

export type UserView = {
  /** `'1'`, `'2'`, … in each app */
  readonly id: string;
  readonly name: string;
  /** E.164 */
  readonly number: string;
  readonly fullName: string;
  readonly isActive: boolean;
  readonly isVerified: boolean;
  /** ms since the epoch */
  readonly createdAt: number;
};

export type SignInRequest = {
  readonly app?: string;
  /** what `verifications.check` answered */
  readonly approved: Approved;
};

export type SignedIn = {
  readonly kind: 'signed-in';
  readonly user: UserView;
  /** shown this once and stored nowhere */
  readonly accessToken: string;
  readonly expiresInSeconds: number;
  /** the user was made by this request */
  readonly isNew: boolean;
};

export type SignInAnswer = SignedIn | Refusal;

export type UserRequest = { readonly app?: string; readonly id: string };

export type UpdateUserRequest = UserRequest & { readonly name?: string; readonly fullName?: string };

export type UserAnswer = { readonly kind: 'found'; readonly user: UserView } | Refusal;

export type TokenAnswer = { readonly kind: 'found'; readonly app: string; readonly user: UserView } | Refusal;

export type SignOutAnswer = { readonly kind: 'signed-out' } | Refusal;

export async function signIn(
  context: ServiceContext,
  { app = DEFAULT_APP, approved }: SignInRequest,
): Promise<SignInAnswer> {
  const { id: appId } = appOf(context, app);
  const parsed = parsePhoneNumber(approved.verification.to);
  if (!approved.provesNumber || !parsed.ok) return unprovenRefusal();
  const now = context.now();
  const accessToken = Buffer.from(context.randomBytes(ACCESS_TOKEN_BYTES)).toString('hex');
  const outcome = await context.store.signIn({
    now,
    app: appId,
    verificationId: approved.verification.id,
    number: parsed.value.number,
    name: firstNameOf(parsed.value),
    token: { hash: digestToken(accessToken), expiresAt: now + ACCESS_TOKEN_TTL_SECONDS * 1000 },
  });
  if (outcome.kind === 'unproven') return unprovenRefusal();
  return {
    kind: 'signed-in',
    user: viewOf(outcome.user),
    accessToken,
    expiresInSeconds: ACCESS_TOKEN_TTL_SECONDS,
    isNew: outcome.isNew,
  };
}

export async function findUserByToken(context: ServiceContext, accessToken: string): Promise<TokenAnswer> {
  // Nothing else is worth a look: a header may be as long as a page.
  if (!isAccessToken(accessToken)) return tokenRefusal();
  const user = await context.store.findUserByToken(digestToken(accessToken), context.now());
  if (user === undefined || !context.apps.has(user.app)) return tokenRefusal();
  return { kind: 'found', app: user.app, user: viewOf(user) };
}

export async function getUser(context: ServiceContext, { app = DEFAULT_APP, id }: UserRequest): Promise<UserAnswer> {
  const appId = appOf(context, app).id;
  return answerOf(isUserId(id) ? await context.store.getUser(appId, id) : undefined);
}

export async function updateUser(
  context: ServiceContext,
  { app = DEFAULT_APP, id, name, fullName }: UpdateUserRequest,
): Promise<UserAnswer> {
  const appId = appOf(context, app).id;
  if (name !== undefined && !isName(name)) return nameRefusal('name', 1, MAX_NAME_CHARS);
  if (fullName !== undefined && !isFullName(fullName)) return nameRefusal('full_name', 0, MAX_FULL_NAME_CHARS);
  return answerOf(isUserId(id) ? await context.store.updateUser(appId, id, { name, fullName }) : undefined);
}

export async function signOut(context: ServiceContext, accessToken: string): Promise<SignOutAnswer> {
  const isRevoked =
    isAccessToken(accessToken) && (await context.store.revokeToken(digestToken(accessToken), context.now()));
  return isRevoked ? { kind: 'signed-out' } : tokenRefusal();
}

export async function signOutEverywhere(
  context: ServiceContext,
  { app = DEFAULT_APP, id }: UserRequest,
): Promise<SignOutAnswer> {
  const appId = appOf(context, app).id;
  const isKnown = isUserId(id) && (await context.store.revokeTokens(appId, id));
  return isKnown ? { kind: 'signed-out' } : unknownRefusal();
}

export async function eraseUser(
  context: ServiceContext,
  erase: Eraser,
  { app = DEFAULT_APP, id }: UserRequest,
): Promise<Erased | Refusal> {
  const appId = appOf(context, app).id;
  const user = isUserId(id) ? await context.store.getUser(appId, id) : undefined;
  if (user === undefined) return unknownRefusal();
  await erase(appId, user.number);
  return { kind: 'erased' };
}

/** Made by an approval only, and gone when it is erased: there is none that is not verified, or not active. */
function viewOf({ id, name, number, fullName, createdAt }: User): UserView {
  return { id, name, number, fullName, isActive: true, isVerified: true, createdAt };
}

function answerOf(user: User | undefined): UserAnswer {
  return user === undefined ? unknownRefusal() : { kind: 'found', user: viewOf(user) };
}

function digestToken(accessToken: string): string {
  return hash('sha256', accessToken, 'base64url');
}

function unknownRefusal(): Refusal {
  return refuse('user-unknown', 'There is no such user.');
}

function tokenRefusal(): Refusal {
  return refuse('access-token-invalid', 'This access token is unknown, revoked or expired. Sign in again.');
}

function unprovenRefusal(): Refusal {
  return refuse(
    'number-unproven',
    'This approval does not show that the person holds the number: its code went out by e-mail, or it is not known here.',
  );
}

function nameRefusal(field: string, minChars: number, maxChars: number): Refusal {
  return refuse(
    'request-invalid',
    `The field ${field} has ${minChars} to ${maxChars} characters and no control characters.`,
    { field },
  );
}
