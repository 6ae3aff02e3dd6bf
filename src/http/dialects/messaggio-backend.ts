import { Type } from 'typebox';
import type { Refusal } from '../../domain/problem.ts';
import { answer, type DialectAnswer, defineDialect, dialectRoute, kindOf, ok } from './dialect.ts';
import { django, fieldErrors } from './django.ts';

const words = {
  sent: 'SMS код отправлен успешно',
  verified: 'Номер телефона подтверждён',
  badNumber: 'Неверный номер телефона',
  badCode: 'Код состоит из 6 цифр',
  wrongCode: 'Неверный или просроченный код',
  tooMany: 'Слишком много запросов. Попробуйте позже',
  notSent: 'Не удалось отправить SMS. Попробуйте позже',
} as const;

/** The Russian and Kazakh service: Django REST Framework, in Russian. */
export const messaggioBackend = defineDialect({
  id: 'messaggio-backend',
  framework: django,
  refused,
  routes: [
    dialectRoute({
      path: '/send-otp',
      body: Type.Object({ phone_number: Type.String({ minLength: 1 }) }),
      async handle({ body, service }) {
        const sent = await service.start({ to: numberOf(body.phone_number) });
        if (sent.kind === 'refused') return sent;
        const said = { message: words.sent, phone_number: sent.verification.to };
        return ok(sent.code === undefined ? said : { ...said, debug_code: sent.code });
      },
    }),
    dialectRoute({
      path: '/verify-otp',
      body: Type.Object({ phone_number: Type.String({ minLength: 1 }), code: Type.String({ minLength: 1 }) }),
      async handle({ body, service }) {
        const checked = await service.check({ to: numberOf(body.phone_number), code: body.code });
        if (checked.kind === 'refused') return checked;
        return ok({ message: words.verified, phone_number: checked.verification.to });
      },
    }),
  ],
});

/** Everything but digits and `+` is dropped; the 8 that people of both countries dial is their +7. */
function numberOf(typed: string): string {
  return typed.replace(/[^\d+]/g, '').replace(/^8/, '+7');
}

function refused(refusal: Refusal): DialectAnswer | undefined {
  switch (kindOf(refusal)) {
    case 'number':
      return fieldErrors({ phone_number: words.badNumber });
    case 'code':
      return fieldErrors({ code: words.badCode });
    case 'wrong-code':
      return answer(400, { error: words.wrongCode });
    case 'too-many':
      return answer(429, { error: words.tooMany }, refusal);
    case 'not-sent':
      return answer(502, { error: words.notSent }, refusal);
    case 'no-provider':
      return answer(503, { error: words.notSent }, refusal);
    case 'other':
      return undefined;
  }
}
