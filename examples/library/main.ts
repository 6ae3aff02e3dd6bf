// In an app this line is: import { createCountersign } from 'countersign';
import { createCountersign } from '../../src/index.ts';

const to = '+998901234567';
const countersign = await createCountersign({ apps: { default: { brand: 'Acme' } } });
try {
  const started = await countersign.verifications.start({ to });
  if (started.kind === 'refused') throw new Error(started.detail);
  console.log(`A code is on its way to ${started.verification.to}.`);

  // The answer carries the code in development mode only. In production it is what the person typed.
  const code = started.code ?? '';
  const answer = await countersign.verifications.check({ id: started.verification.id, code });
  console.log(answer.kind === 'approved' ? `${answer.verification.to} is approved.` : `No: ${answer.detail}`);

  const sent = await countersign.messages.send({ to, text: 'Your driver is here.' });
  console.log(sent.kind === 'sent' ? `Sent as ${sent.message.segments} segment.` : `No: ${sent.detail}`);
} finally {
  await countersign.close();
}
