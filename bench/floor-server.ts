// The floor: what Fastify alone costs for a request of this size. No log, no key, no store, no rules.
import { fastify } from 'fastify';

const text = { type: 'string' } as const;
const count = { type: 'integer' } as const;

const server = fastify();

server.get('/readyz', () => ({ status: 'ready' }));

server.post<{ Body: { to: string; client_ip?: string } }>(
  '/echo',
  {
    schema: {
      body: {
        type: 'object',
        required: ['to'],
        additionalProperties: false,
        properties: { to: { type: 'string', maxLength: 32 }, client_ip: { type: 'string', maxLength: 64 } },
      },
      response: {
        201: {
          type: 'object',
          required: ['id', 'status', 'to', 'country', 'channel', 'expires_at', 'resend_at', 'attempts_left', 'sends'],
          properties: {
            id: text,
            status: text,
            to: text,
            country: text,
            channel: text,
            expires_at: text,
            resend_at: text,
            attempts_left: count,
            sends: count,
          },
        },
      },
    },
  },
  (request, reply) => {
    reply.code(201);
    return {
      id: 'ver_01JD3ZK4T0Q8W5N7R2X9C6B1HM',
      status: 'pending',
      to: request.body.to,
      country: 'UZ',
      channel: 'sms',
      expires_at: '2025-11-20T12:05:00.000Z',
      resend_at: '2025-11-20T12:00:30.000Z',
      attempts_left: 5,
      sends: 1,
    };
  },
);

process.once('SIGTERM', () => {
  server.close().then(
    () => process.exit(0),
    () => process.exit(1),
  );
});

await server.listen({ host: '127.0.0.1', port: Number(process.env['PORT']) });
