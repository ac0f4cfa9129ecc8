-- A ledger as the release with schema 1 wrote it: two classes, 24 answers, 17 labels, two corrections, an
-- acknowledgment, a label that waits. Frozen: an upgrade is tested from here.
BEGIN TRANSACTION;
CREATE TABLE bin_day (
	calibration_id BIGINT NOT NULL, 
	day INTEGER NOT NULL, 
	bin SMALLINT NOT NULL, 
	served BIGINT NOT NULL, 
	served_confidence DOUBLE NOT NULL, 
	n BIGINT NOT NULL, 
	confidence DOUBLE NOT NULL, 
	correct BIGINT NOT NULL, 
	variance DOUBLE NOT NULL, 
	squared_error DOUBLE NOT NULL, 
	PRIMARY KEY (calibration_id, day, bin)
)
 WITHOUT ROWID

;
INSERT INTO "bin_day" VALUES(1,20715,7,2,1.0,1,0.5,0,0.25,0.25);
INSERT INTO "bin_day" VALUES(1,20715,8,1,0.6,1,0.6,0,0.24,0.36);
INSERT INTO "bin_day" VALUES(1,20715,10,2,1.4,1,0.7,0,2.1000000000000002e-01,4.89999999999999935e-01);
INSERT INTO "bin_day" VALUES(1,20715,11,2,1.6,1,0.8,1,1.59999999999999975e-01,3.999999999999998e-02);
INSERT INTO "bin_day" VALUES(1,20715,13,1,0.9,1,0.9,0,8.99999999999999827e-02,0.81);
INSERT INTO "bin_day" VALUES(1,20716,7,1,0.5,1,0.5,0,0.25,0.25);
INSERT INTO "bin_day" VALUES(1,20716,8,2,1.2,2,1.2,1,0.48,0.52);
INSERT INTO "bin_day" VALUES(1,20716,10,2,1.4,1,0.7,0,2.1000000000000002e-01,4.89999999999999935e-01);
INSERT INTO "bin_day" VALUES(1,20716,11,1,0.8,1,0.8,0,1.59999999999999975e-01,6.40000000000000124e-01);
INSERT INTO "bin_day" VALUES(1,20716,13,2,1.8,1,0.9,1,8.99999999999999827e-02,9.999999999999995e-03);
INSERT INTO "bin_day" VALUES(1,20717,7,2,1.0,2,1.0,1,0.5,0.5);
INSERT INTO "bin_day" VALUES(1,20717,8,2,1.2,1,0.6,0,0.24,0.36);
INSERT INTO "bin_day" VALUES(1,20717,10,1,0.7,1,0.7,1,2.1000000000000002e-01,9.00000000000000244e-02);
INSERT INTO "bin_day" VALUES(1,20717,11,2,1.6,1,0.8,0,1.59999999999999975e-01,6.40000000000000124e-01);
INSERT INTO "bin_day" VALUES(1,20717,13,1,0.9,1,0.9,0,8.99999999999999827e-02,0.81);
CREATE TABLE calibration (
	calibration_id INTEGER NOT NULL, 
	model TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	card_sha256 TEXT NOT NULL, 
	card TEXT NOT NULL, 
	registered_at_ns BIGINT NOT NULL, 
	PRIMARY KEY (calibration_id), 
	UNIQUE (model, version, card_sha256)
);
INSERT INTO "calibration" VALUES(1,'pneumonia',1,'eb1899af1570ac694683174497104a4b0327b5e183574ba647fd8f2ab31a08a6','{"calibration": {"bins": [{"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 75.0, "correct": 75.0, "n": 100, "squared_error": 18.75, "variance": 18.75}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}, {"confidence": 0.0, "correct": 0.0, "n": 0, "squared_error": 0.0, "variance": 0.0}], "measures": {"accuracy": 0.75, "brier": null, "debiased_rms": 0.0, "ece": 0.0, "ece_lower": 0.0, "ece_upper": 0.08486893005571286, "ece_z": -1.323608096788513, "mce": 0.0, "mean_confidence": 0.75, "n": 100.0, "nll": null, "noise_floor": 0.03454941494713355, "signed_gap": -0.0, "signed_gap_lower": -0.08486893005571287, "signed_gap_upper": 0.08486893005571287}, "method": "temperature", "reference_split": "validation", "temperature": 1.0}, "classes": ["normal", "pneumonia"], "files": {}, "format_version": 1, "input": {"channels": 1, "height": 8, "resize": "stretch", "width": 8}, "name": "pneumonia", "provenance": {"backbone": "none", "beta": null, "created_at": "2026-01-01T00:00:00Z", "dataset": "none", "epochs": 1, "fingerprint": "0000000000000000000000000000000000000000000000000000000000000000", "git_commit": null, "libraries": {}, "loss": "ce", "parent_version": null, "seed": 0}, "referral": {"coverage": 0.5, "delta": 0.05, "promised_accuracy": 0.8, "threshold": 0.7}, "version": 1}',1790000000000000000);
CREATE TABLE feedback (
	feedback_id INTEGER NOT NULL, 
	prediction_id BLOB NOT NULL, 
	calibration_id BIGINT NOT NULL, 
	revision INTEGER NOT NULL, 
	label SMALLINT NOT NULL, 
	correct SMALLINT NOT NULL, 
	source TEXT, 
	observed_at_ns BIGINT, 
	received_at_ns BIGINT NOT NULL, 
	PRIMARY KEY (feedback_id)
);
INSERT INTO "feedback" VALUES(1,X'01A0C4506C0070008000000000000000',1,0,0,1,'biopsy',NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(2,X'01A0BF2A100070008000000000000001',1,0,0,0,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(3,X'01A0BA03B40070008000000000000002',1,0,1,0,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(4,X'01A0C4506C0070008000000000000003',1,0,0,0,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(5,X'01A0BF2A100070008000000000000004',1,0,0,1,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(6,X'01A0BA03B40070008000000000000005',1,0,0,0,'biopsy',NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(7,X'01A0C4506C0070008000000000000006',1,0,1,0,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(8,X'01A0BF2A100070008000000000000007',1,0,0,0,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(9,X'01A0BA03B40070008000000000000008',1,0,0,1,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(10,X'01A0C4506C0070008000000000000009',1,0,0,0,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(11,X'01A0BF2A10007000800000000000000A',1,0,1,0,'biopsy',NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(12,X'01A0BA03B4007000800000000000000B',1,0,0,0,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(13,X'01A0C4506C007000800000000000000C',1,0,0,1,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(14,X'01A0BF2A10007000800000000000000D',1,0,0,0,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(15,X'01A0BA03B4007000800000000000000E',1,0,1,0,NULL,NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(16,X'01A0C4506C007000800000000000000F',1,0,0,0,'biopsy',NULL,1790000000000000000);
INSERT INTO "feedback" VALUES(17,X'01A0BF2A100070008000000000000010',1,0,0,1,NULL,NULL,1790000000000000000);
CREATE TABLE feedback_pending (
	model TEXT NOT NULL, 
	request_id TEXT NOT NULL, 
	label TEXT NOT NULL, 
	source TEXT, 
	observed_at_ns BIGINT, 
	received_at_ns BIGINT NOT NULL, 
	PRIMARY KEY (model, request_id)
);
INSERT INTO "feedback_pending" VALUES('pneumonia','scan-99','normal',NULL,NULL,1790000000000000000);
CREATE TABLE label_current (
	prediction_id BLOB NOT NULL, 
	calibration_id BIGINT NOT NULL, 
	first_feedback_id BIGINT NOT NULL, 
	revision INTEGER NOT NULL, 
	label SMALLINT NOT NULL, 
	correct SMALLINT NOT NULL, 
	confidence DOUBLE NOT NULL, 
	PRIMARY KEY (prediction_id)
)
 WITHOUT ROWID

;
INSERT INTO "label_current" VALUES(X'01A0BA03B40070008000000000000002',1,3,0,1,0,0.7);
INSERT INTO "label_current" VALUES(X'01A0BA03B40070008000000000000005',1,6,0,0,0,0.5);
INSERT INTO "label_current" VALUES(X'01A0BA03B40070008000000000000008',1,9,0,0,1,0.8);
INSERT INTO "label_current" VALUES(X'01A0BA03B4007000800000000000000B',1,12,0,0,0,0.6);
INSERT INTO "label_current" VALUES(X'01A0BA03B4007000800000000000000E',1,15,0,1,0,0.9);
INSERT INTO "label_current" VALUES(X'01A0BF2A100070008000000000000001',1,2,0,0,0,0.6);
INSERT INTO "label_current" VALUES(X'01A0BF2A100070008000000000000004',1,5,0,0,1,0.9);
INSERT INTO "label_current" VALUES(X'01A0BF2A100070008000000000000007',1,8,0,0,0,0.7);
INSERT INTO "label_current" VALUES(X'01A0BF2A10007000800000000000000A',1,11,0,1,0,0.5);
INSERT INTO "label_current" VALUES(X'01A0BF2A10007000800000000000000D',1,14,0,0,0,0.8);
INSERT INTO "label_current" VALUES(X'01A0BF2A100070008000000000000010',1,17,0,0,1,0.6);
INSERT INTO "label_current" VALUES(X'01A0C4506C0070008000000000000000',1,1,0,0,1,0.5);
INSERT INTO "label_current" VALUES(X'01A0C4506C0070008000000000000003',1,4,0,0,0,0.8);
INSERT INTO "label_current" VALUES(X'01A0C4506C0070008000000000000006',1,7,0,1,0,0.6);
INSERT INTO "label_current" VALUES(X'01A0C4506C0070008000000000000009',1,10,0,0,0,0.9);
INSERT INTO "label_current" VALUES(X'01A0C4506C007000800000000000000C',1,13,0,0,1,0.7);
INSERT INTO "label_current" VALUES(X'01A0C4506C007000800000000000000F',1,16,0,0,0,0.5);
CREATE TABLE ledger_schema (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "ledger_schema" VALUES(1);
CREATE TABLE monitor_event (
	event_id INTEGER NOT NULL, 
	calibration_id BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	feedback_id BIGINT DEFAULT 0 NOT NULL, 
	at_ns BIGINT NOT NULL, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (event_id)
);
INSERT INTO "monitor_event" VALUES(1,1,'started',0,1790000000000000000,'{"average_run_length": 20, "tolerance": 0.0, "bin_count": 15}');
INSERT INTO "monitor_event" VALUES(2,1,'alarm',10,1790000000000000000,'{"labels": 10, "direction": "over"}');
INSERT INTO "monitor_event" VALUES(3,1,'acknowledged',16,1790000000000000000,'{"note": "scanner replaced", "was_active": true, "labels": 16}');
CREATE TABLE monitor_state (
	calibration_id BIGINT NOT NULL, 
	settings TEXT NOT NULL, 
	state TEXT NOT NULL, 
	last_feedback_id BIGINT NOT NULL, 
	PRIMARY KEY (calibration_id)
);
INSERT INTO "monitor_state" VALUES(1,'{"average_run_length": 20, "tolerance": 0.0, "bin_count": 15}','{"log_m": [-0.04120755272418607, -0.08485673540776813, -0.17959273616105553, -0.3989213251172642, -0.948259431767856, 0.038808432249774635, 0.0752707850943576, 0.1414160885445056, 0.2488055394872335, 0.38454750380953984, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, -0.04120755272418607, -0.08485673540776813, -0.17959273616105553, -0.3989213251172642, -0.948259431767856, 0.038808432249774635, 0.0752707850943576, 0.1414160885445056, 0.2488055394872335, 0.38454750380953984, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null], "labels": 1, "alarm_label": null, "direction": null}',17);
CREATE TABLE prediction (
	prediction_id BLOB NOT NULL, 
	calibration_id BIGINT NOT NULL, 
	request_id TEXT, 
	predicted SMALLINT NOT NULL, 
	confidence DOUBLE NOT NULL, 
	probabilities BLOB NOT NULL, 
	served_at_ns BIGINT NOT NULL, 
	PRIMARY KEY (prediction_id)
)
 WITHOUT ROWID

;
INSERT INTO "prediction" VALUES(X'01A0BA03B40070008000000000000002',1,NULL,0,0.7,X'3333333F9A99993E',1789827200000000000);
INSERT INTO "prediction" VALUES(X'01A0BA03B40070008000000000000005',1,NULL,1,0.5,X'0000003F0000003F',1789827200000000000);
INSERT INTO "prediction" VALUES(X'01A0BA03B40070008000000000000008',1,NULL,0,0.8,X'CDCC4C3FCDCC4C3E',1789827200000000000);
INSERT INTO "prediction" VALUES(X'01A0BA03B4007000800000000000000B',1,NULL,1,0.6,X'CDCCCC3E9A99193F',1789827200000000000);
INSERT INTO "prediction" VALUES(X'01A0BA03B4007000800000000000000E',1,NULL,0,0.9,X'6666663FCDCCCC3D',1789827200000000000);
INSERT INTO "prediction" VALUES(X'01A0BA03B40070008000000000000011',1,NULL,1,0.7,X'9A99993E3333333F',1789827200000000000);
INSERT INTO "prediction" VALUES(X'01A0BA03B40070008000000000000014',1,NULL,0,0.5,X'0000003F0000003F',1789827200000000000);
INSERT INTO "prediction" VALUES(X'01A0BA03B40070008000000000000017',1,NULL,1,0.8,X'CDCC4C3ECDCC4C3F',1789827200000000000);
INSERT INTO "prediction" VALUES(X'01A0BF2A100070008000000000000001',1,NULL,1,0.6,X'CDCCCC3E9A99193F',1789913600000000000);
INSERT INTO "prediction" VALUES(X'01A0BF2A100070008000000000000004',1,NULL,0,0.9,X'6666663FCDCCCC3D',1789913600000000000);
INSERT INTO "prediction" VALUES(X'01A0BF2A100070008000000000000007',1,NULL,1,0.7,X'9A99993E3333333F',1789913600000000000);
INSERT INTO "prediction" VALUES(X'01A0BF2A10007000800000000000000A',1,NULL,0,0.5,X'0000003F0000003F',1789913600000000000);
INSERT INTO "prediction" VALUES(X'01A0BF2A10007000800000000000000D',1,NULL,1,0.8,X'CDCC4C3ECDCC4C3F',1789913600000000000);
INSERT INTO "prediction" VALUES(X'01A0BF2A100070008000000000000010',1,NULL,0,0.6,X'9A99193FCDCCCC3E',1789913600000000000);
INSERT INTO "prediction" VALUES(X'01A0BF2A100070008000000000000013',1,NULL,1,0.9,X'CDCCCC3D6666663F',1789913600000000000);
INSERT INTO "prediction" VALUES(X'01A0BF2A100070008000000000000016',1,NULL,0,0.7,X'3333333F9A99993E',1789913600000000000);
INSERT INTO "prediction" VALUES(X'01A0C4506C0070008000000000000000',1,'scan-0',0,0.5,X'0000003F0000003F',1790000000000000000);
INSERT INTO "prediction" VALUES(X'01A0C4506C0070008000000000000003',1,'scan-3',1,0.8,X'CDCC4C3ECDCC4C3F',1790000000000000000);
INSERT INTO "prediction" VALUES(X'01A0C4506C0070008000000000000006',1,'scan-6',0,0.6,X'9A99193FCDCCCC3E',1790000000000000000);
INSERT INTO "prediction" VALUES(X'01A0C4506C0070008000000000000009',1,'scan-9',1,0.9,X'CDCCCC3D6666663F',1790000000000000000);
INSERT INTO "prediction" VALUES(X'01A0C4506C007000800000000000000C',1,'scan-12',0,0.7,X'3333333F9A99993E',1790000000000000000);
INSERT INTO "prediction" VALUES(X'01A0C4506C007000800000000000000F',1,'scan-15',1,0.5,X'0000003F0000003F',1790000000000000000);
INSERT INTO "prediction" VALUES(X'01A0C4506C0070008000000000000012',1,'scan-18',0,0.8,X'CDCC4C3FCDCC4C3E',1790000000000000000);
INSERT INTO "prediction" VALUES(X'01A0C4506C0070008000000000000015',1,'scan-21',1,0.6,X'CDCCCC3E9A99193F',1790000000000000000);
CREATE INDEX prediction_request ON prediction (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX label_current_order ON label_current (calibration_id, first_feedback_id);
CREATE INDEX feedback_pending_request ON feedback_pending (request_id);
CREATE INDEX monitor_event_order ON monitor_event (calibration_id, event_id);
COMMIT;
