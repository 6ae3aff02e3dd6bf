import { Type } from 'typebox';
import type { Refusal } from '../../domain/problem.ts';
import type { UserView } from '../../service/users.ts';
import { answer, type DialectAnswer, type DialectService, defineDialect, dialectRoute, kindOf, ok } from './dialect.ts';
import { detail, django, fieldErrors, throttled } from './django.ts';

const words = {
  badNumber: 'Phone number must start with country code (e.g., +996 or +1)',
  badCode: 'Ensure this field has exactly 6 digits.',
  wrongCode: 'Invalid or expired verification code',
  unavailable: 'SMS verification is temporarily unavailable. Please contact support.',
  notSent: 'The verification code could not be sent. Please try again.',
  notTaken: 'The verification code could not be sent to this number.',
} as const;

/** The shop of Kyrgyzstan and the United States: Django REST Framework; its users are found by phone, or made. */
export const marque = defineDialect({
  id: 'marque',
  framework: django,
  refused,
  routes: [
    dialectRoute({
      path: '/api/v1/auth/send-verification',
      body: Type.Object({ phone: Type.String({ minLength: 1 }) }),
      async handle({ body, service }) {
        const sent = await service.start({ to: body.phone });
        if (sent.kind === 'refused') return refusedStart(sent);
        const { to, locale } = sent.verification;
        return ok({
          success: true,
          message: `Verification code sent to ${to}`,
          phone: to,
          market: marketOf(service.parse(to)),
          language: locale,
          expires_in_minutes: Math.max(1, Math.round(service.secondsLeft(sent.verification) / 60)),
        });
      },
    }),
    dialectRoute({
      path: '/api/v1/auth/verify-code',
      body: Type.Object({
        phone: Type.String({ minLength: 1 }),
        verification_code: Type.Optional(Type.String({ minLength: 1 })),
        code: Type.Optional(Type.String({ minLength: 1 })),
      }),
      async handle({ body, service }) {
        const code = body.verification_code ?? body.code;
        if (code === undefined) return fieldErrors({ verification_code: 'This field is required.' });
        const approved = await service.check({ to: body.phone, code });
        // Where nothing can be sent no code is wrong: the old back end said first what it lacks.
        if (approved.kind === 'refused')
          return (kindOf(approved) === 'wrong-code' ? service.whyNotTo(body.phone) : undefined) ?? approved;
        const signedIn = await service.signIn(approved);
        if (signedIn.kind === 'refused') return signedIn;
        return ok({
          access_token: signedIn.accessToken,
          token_type: 'bearer',
          expires_in: signedIn.expiresInSeconds,
          user: userOf(signedIn.user),
          market: marketOf(service.parse(approved.verification.to)),
          is_new_user: signedIn.isNew,
        });
      },
    }),
  ],
});

/** Only the start says `success` with its no. */
function refusedStart(refusal: Refusal): DialectAnswer | Refusal {
  // Its digits are fine: it is Twilio that does not take it.
  if (refusal.code === 'recipient-refused') return answer(502, { success: false, detail: words.notTaken });
  switch (kindOf(refusal)) {
    case 'no-provider':
      return answer(503, { success: false, detail: words.unavailable }, refusal);
    case 'not-sent':
      return answer(502, { success: false, detail: words.notSent }, refusal);
    default:
      return refusal;
  }
}

function refused(refusal: Refusal): DialectAnswer | undefined {
  switch (kindOf(refusal)) {
    case 'number':
      return fieldErrors({ phone: words.badNumber });
    case 'code':
      return fieldErrors({ verification_code: words.badCode });
    case 'wrong-code':
      return detail(400, words.wrongCode);
    case 'too-many':
      return throttled(refusal);
    case 'not-sent':
    case 'no-provider':
      return detail(503, words.unavailable, refusal);
    case 'other':
      return undefined;
  }
}

function marketOf(parsed: ReturnType<DialectService['parse']>): string | null {
  return parsed.kind === 'parsed' ? (parsed.number.market?.id ?? null) : null;
}

function userOf({ id, name, number, fullName, isActive, isVerified }: UserView) {
  return { id, name, phone: number, full_name: fullName, is_active: isActive, is_verified: isVerified };
}
