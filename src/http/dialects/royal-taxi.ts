import { Type } from 'typebox';
import type { Refusal } from '../../domain/problem.ts';
import { type DialectAnswer, defineDialect, dialectRoute, kindOf, ok } from './dialect.ts';
import { detail, fastApi, valueError } from './fastapi.ts';

const words = {
  sent: 'Tasdiqlash kodi yuborildi',
  verified: 'Telefon raqami tasdiqlandi',
  wrongCode: "Tasdiqlash kodi noto'g'ri yoki uning muddati tugagan",
  badNumber: "telefon raqami noto'g'ri",
  badCode: "tasdiqlash kodi noto'g'ri yozilgan",
  tooMany: "Juda ko'p urinish. Birozdan keyin qayta urinib ko'ring",
  notSent: "SMS yuborib bo'lmadi. Birozdan keyin qayta urinib ko'ring",
} as const;

/** The taxi service of Uzbekistan: FastAPI, in Uzbek; signs the person in. */
export const royalTaxi = defineDialect({
  id: 'royal-taxi',
  framework: fastApi,
  refused,
  routes: [
    dialectRoute({
      path: '/api/v1/auth/send-otp',
      body: Type.Object({ phone: Type.String() }),
      async handle({ body, service }) {
        const sent = await service.start({ to: body.phone });
        if (sent.kind === 'refused') return sent;
        const answer = { message: words.sent, expires_in: service.secondsLeft(sent.verification) };
        return ok(sent.code === undefined ? answer : { ...answer, otp_code: sent.code });
      },
    }),
    dialectRoute({
      path: '/api/v1/auth/verify-otp',
      body: Type.Object({ phone: Type.String(), otp_code: Type.String() }),
      async handle({ body, service }) {
        const approved = await service.check({ to: body.phone, code: body.otp_code });
        if (approved.kind === 'refused') return approved;
        const signedIn = await service.signIn(approved);
        if (signedIn.kind === 'refused') return signedIn;
        return ok({ message: words.verified, access_token: signedIn.accessToken, token_type: 'bearer' });
      },
    }),
  ],
});

function refused(refusal: Refusal): DialectAnswer | undefined {
  switch (kindOf(refusal)) {
    case 'number':
      return valueError('phone', words.badNumber);
    case 'code':
      return valueError('otp_code', words.badCode);
    case 'wrong-code':
      return detail(400, words.wrongCode);
    case 'too-many':
      return detail(429, words.tooMany, refusal);
    case 'not-sent':
      return detail(502, words.notSent, refusal);
    case 'no-provider':
      return detail(503, words.notSent, refusal);
    case 'other':
      return undefined;
  }
}
