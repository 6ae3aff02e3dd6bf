-- How often somebody took a message up since its last step: what nobody lives to settle must not be sent for ever.
ALTER TABLE message ADD COLUMN claims INTEGER NOT NULL DEFAULT 0;
