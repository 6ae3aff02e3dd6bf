import { Type } from 'typebox';
// In an app these lines are: import { … } from 'countersign';
import { answer, defineDialect, dialectRoute, kindOf, ok } from '../../src/index.ts';

const no = (status: number, error: string) => ({ status, body: { ok: false, error } });

/** The back end of a shop, written by hand with Express: `ok` in every answer, and short words for errors. */
export const bazaar = defineDialect({
  id: 'bazaar',
  // What Express and its middleware answered when no route did.
  framework: {
    invalid: () => no(400, 'bad_request'),
    refused: (refusal) => answer(503, { ok: false, error: 'unavailable' }, refusal),
    unauthorized: () => no(401, 'unauthorized'),
    wrongMethod: () => no(404, 'not_found'),
    failed: () => no(500, 'server_error'),
  },
  // What its own code answered, for every route.
  refused(refusal) {
    switch (kindOf(refusal)) {
      case 'number':
        return no(400, 'bad_mobile');
      case 'code':
      case 'wrong-code':
        return no(403, 'bad_pin');
      case 'too-many':
        return answer(429, { ok: false, error: 'slow_down' }, refusal);
      case 'not-sent':
        return no(502, 'sms_failed');
      default:
        return undefined;
    }
  },
  routes: [
    dialectRoute({
      path: '/otp/send',
      body: Type.Object({ mobile: Type.String() }),
      async handle({ body, service }) {
        const sent = await service.start({ to: body.mobile });
        return sent.kind === 'refused' ? sent : ok({ ok: true, ttl: service.secondsLeft(sent.verification) });
      },
    }),
    dialectRoute({
      path: '/otp/check',
      body: Type.Object({ mobile: Type.String(), pin: Type.String() }),
      async handle({ body, service }) {
        const approved = await service.check({ to: body.mobile, code: body.pin });
        if (approved.kind === 'refused') return approved;
        const user = await service.signIn(approved);
        return user.kind === 'refused' ? user : ok({ ok: true, token: user.accessToken, id: Number(user.user.id) });
      },
    }),
  ],
});
