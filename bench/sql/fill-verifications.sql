-- Verifications that were approved. $1 begin of each slot of time (ms), $2 its characters in an id, $3 place of its first
-- verification among all, $4 how many it has.
INSERT INTO countersign.verification (
  id, app, purpose, number, country, channel, locale, lane, state, attempts, max_attempts, sends, max_sends, nonce,
  code_number, code_length, digest_by_id, digest_by_slot, created_at, expires_at, resend_at, own_code_sent, sent_by_email,
  message_ids)
SELECT 'ver_' || tail, 'bench', 'login', '+99891' || lpad((place * 7368787 % 10000000)::text, 7, '0'), 'UZ', 'sms', 'uz',
       'open', 'approved', 1, 5, 1, 5, decode(noise, 'hex'), 0, 6, decode(noise, 'hex'), decode(noise, 'hex'), at,
       at + 600000, at + 30000, true, false, 'msg_' || tail
  FROM (
    SELECT slot.at + n * 32768 / slot.count AS at, slot.first + n AS place, md5((slot.first + n)::text) AS noise,
           -- Hexadecimal digits are digits of the ids' base 32 too.
           slot.time || left(md5((slot.first + n)::text), 19) AS tail
      FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS slot (at, time, first, count),
           generate_series(0, slot.count - 1) AS n
  ) made
