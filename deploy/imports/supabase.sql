--
-- PostgreSQL database dump
--

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);

--
-- Data for Name: users; Type: TABLE DATA; Schema: auth; Owner: supabase_auth_admin
--

COPY auth.users (instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, raw_app_meta_data, raw_user_meta_data, created_at, banned_until, deleted_at, is_anonymous) FROM stdin;
00000000-0000-0000-0000-000000000000	6a8f0c1e-1111-4222-8333-944455556666	authenticated	authenticated	ada@example.org	$2a$10$TvIjEs797xzEhltgMv.dhuVANceu16K1Pd0JN3eqdnedvLiU4q.pC	2024-09-04 06:21:04.711826+00	{"provider": "email", "providers": ["email"]}	{"full_name": "Ada Lovelace", "motto": "O'Hara's"}	2024-09-04 06:20:51.18272+00	\N	\N	false
00000000-0000-0000-0000-000000000000	7a8f0c1e-1111-4222-8333-944455556666	authenticated	authenticated	grace@example.org	$2a$10$TvIjEs797xzEhltgMv.dhuVANceu16K1Pd0JN3eqdnedvLiU4q.pC	\N	{}	{}	2024-09-05 06:20:51+00	2123-09-04 06:20:51+00	\N	false
00000000-0000-0000-0000-000000000000	8a8f0c1e-1111-4222-8333-944455556666	authenticated	authenticated	gone@example.org	$2a$10$TvIjEs797xzEhltgMv.dhuVANceu16K1Pd0JN3eqdnedvLiU4q.pC	\N	{}	{}	2024-09-05 06:20:51+00	\N	2024-10-04 06:20:51+00	false
\.


--
-- PostgreSQL database dump complete
--
