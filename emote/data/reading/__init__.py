"""What people's files say: folders and archives, names, captions beside images, tables, and exports of chats."""
