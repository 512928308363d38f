-- Which of the exchanges that ended could not be read: lost in the journal, or not decodable. They are a part of `numbers`.
ALTER TABLE shadow.ended ADD COLUMN unread int8multirange NOT NULL DEFAULT '{}';
